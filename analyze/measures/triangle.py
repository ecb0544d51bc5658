"""Angles of the triangle of noise, image and latent."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.pairwise import per_image


@dataclass(frozen=True)
class Triangle:
    """Angles in degrees at x_0, x_T and x̂_T.

    `…_of_mean` is the arc cosine of the mean cosine, as in the paper's tables; `…_mean` and `…_std` are over the angles
    of the samples; `…_most_probable` are whole degrees that add up to 180.
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
    image_most_probable: float
    noise_most_probable: float
    latent_most_probable: float


def triangle(noise: Tensor, samples: Tensor, latents: Tensor) -> Triangle:
    """Compute the angles of each sample's triangle x_T, x_0, x̂_T, all [N, C, H, W].

    If two corners coincide, the cosines at both are 0, so both angles are 90°.
    Source: the paper, Tables 3–5, Figure 2.
    """
    corners = ((samples, noise, latents), (noise, samples, latents), (latents, noise, samples))
    cosines = [per_image(_cosine, *corner) for corner in corners]
    of_mean = [torch.rad2deg(cosine.mean().arccos()).item() for cosine in cosines]
    angles = [torch.rad2deg(cosine.arccos()) for cosine in cosines]
    means, stds = [angle.mean().item() for angle in angles], [angle.std().item() for angle in angles]
    return Triangle(*of_mean, *means, *stds, *most_probable(*angles))


def _cosine(corner: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the cosine of the angle at a corner, [n]."""
    corner, a, b = (x.flatten(1).double() for x in (corner, a, b))
    return F.cosine_similarity(a - corner, b - corner, dim=1, eps=1e-300).clamp(-1, 1)


def most_probable(image: Tensor, noise: Tensor, latent: Tensor) -> tuple[float, ...]:
    """Find the whole degrees adding up to 180 that maximize the product of three histograms of angles [N].

    Bin k is [k, k+1). The first triangle in the order of (image, noise) wins a tie. If every product is 0, for
    example if all angles of a corner share a bin, return the triangle of whole degrees nearest to the mean angles.
    """
    degrees = torch.arange(181, device=image.device)
    latents = 180 - degrees[:, None] - degrees  # [181, 181], by degrees of the image and of the noise
    possible, latents = latents >= 0, latents.clamp(min=0)
    of_image, of_noise, of_latent = (x.floor().long().bincount(minlength=181).double() for x in (image, noise, latent))
    score = torch.where(possible, of_image[:, None] * of_noise * of_latent[latents], 0.0)
    if not score.any():
        from_image, from_noise, from_latent = ((degrees - x.mean()).square() for x in (image, noise, latent))
        score = torch.where(possible, -(from_image[:, None] + from_noise + from_latent[latents]), -torch.inf)
    i, j = divmod(int(score.argmax()), 181)
    return float(i), float(j), float(180 - i - j)
