"""Where the inverted latent lies: the angles of the triangle of noise, image and latent."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Triangle:
    """Angles in degrees at x_0, x_T and x̂_T.

    `…_of_mean` is the arc cosine of the mean cosine, which is what the paper's tables give; `…_mean ± …_std` are
    over the samples' own angles.
    """

    image_of_mean: float
    noise_of_mean: float
    latent_of_mean: float
    image_mean: float
    noise_mean: float
    latent_mean: float
    image_std: float
    noise_std: float
    latent_std: float


def triangle(noise: Tensor, samples: Tensor, latents: Tensor) -> Triangle:
    """The angles of each sample's triangle x_T, x_0, x̂_T, all [N, C, H, W]. Source: the paper, Tables 3–5, Figure 2.

    Where two corners coincide, the cosines at both are 0, so that both angles are right ones.
    """
    x_T, x_0, inverted = (x.flatten(1).double() for x in (noise, samples, latents))
    corners = ((x_0, x_T, inverted), (x_T, x_0, inverted), (inverted, x_T, x_0))
    cosines = [_cosine(one - corner, other - corner) for corner, one, other in corners]
    of_mean = [torch.rad2deg(cosine.mean().arccos()).item() for cosine in cosines]
    angles = [torch.rad2deg(cosine.arccos()) for cosine in cosines]
    means, stds = [angle.mean().item() for angle in angles], [angle.std().item() for angle in angles]
    return Triangle(*of_mean, *means, *stds)


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.cosine_similarity(a, b, dim=1, eps=1e-300).clamp(-1, 1)
