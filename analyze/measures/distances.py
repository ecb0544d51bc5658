"""L2 distances between noise, image and latent."""

from dataclasses import dataclass

from torch import Tensor

from analyze.measures.pairwise import per_image


@dataclass(frozen=True)
class Distances:
    """L2 norms over all pixels and channels, mean and std over the samples."""

    noise_latent: float
    image_latent: float
    image_noise: float
    noise_latent_std: float
    image_latent_std: float
    image_noise_std: float


def distances(noise: Tensor, samples: Tensor, latents: Tensor) -> Distances:
    """Compute ‖x_T − x̂_T‖, ‖x_0 − x̂_T‖ and ‖x_0 − x_T‖ of tensors [N, C, H, W].

    Source: the paper, Tables 3–5.
    """
    pairs = ((noise, latents), (samples, latents), (samples, noise))
    norms = [per_image(_distance, *pair) for pair in pairs]
    return Distances(*(norm.mean().item() for norm in norms), *(norm.std().item() for norm in norms))


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).flatten(1).norm(dim=1)
