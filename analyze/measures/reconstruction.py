"""Reconstruction error of images regenerated from their latents."""

from dataclasses import dataclass

from torch import Tensor

from analyze.measures.pairwise import per_image


@dataclass(frozen=True)
class Reconstruction:
    """Mean absolute and mean squared error over pixels, channels and images."""

    mean_absolute_error: float
    mse: float


def reconstruction(samples: Tensor, reconstructions: Tensor) -> Reconstruction:
    """Compare x_0 with DDIM(x̂_T), the image generated from its inverted latent, both [N, C, H, W].

    Source: the authors' code; the paper has no table of it.
    """
    pair = samples, reconstructions
    return Reconstruction(per_image(_mean_absolute, *pair).mean().item(), per_image(_mean_square, *pair).mean().item())


def _mean_absolute(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).abs().flatten(1).mean(dim=1)


def _mean_square(a: Tensor, b: Tensor) -> Tensor:
    return (a.double() - b.double()).square().flatten(1).mean(dim=1)
