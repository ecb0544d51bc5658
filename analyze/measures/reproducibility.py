"""Similarity of the images that two models generate from the same noise."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

ALIKE_ABOVE = 0.6  # cosine similarity, as in the RP score of Zhang et al. (2024)


@dataclass(frozen=True)
class Reproducibility:
    """Cosine similarities of two models' images: mean, and fraction above ALIKE_ABOVE (`score`).

    `score` and `cosine` are those of the pairs from the same noise. `unrelated_score` and `unrelated_cosine` are those
    of all pairs from different noises: the values for models whose images do not depend on the noise.
    """

    score: float
    cosine: float
    unrelated_score: float
    unrelated_cosine: float


def pixel_reproducibility(first: Tensor, second: Tensor) -> Reproducibility:
    """Compare images [N, C, H, W] of two models, in which image i has the same noise, by their pixels.

    The similarity is the Pearson correlation of two images: the cosine after the mean of each image is subtracted,
    without which all dark images would be alike. An image without contrast has similarity 0 to any other.
    Source: score: RP score of Zhang et al. (2024), who compare features of a network; similarity: Kadkhodaie et al.
    (2024), as implemented in their im_set_corr.
    """
    centered = (images - images.mean(dim=(1, 2, 3), keepdim=True) for images in (first.double(), second.double()))
    return reproducibility(*centered)


def reproducibility(first: Tensor, second: Tensor) -> Reproducibility:
    """Compare descriptors [N, …] of two models' images, in which image i has the same noise, by their cosines.

    Zhang et al. (2024) use the descriptors of SSCD (Pizzi et al., 2022), a network trained to tell copies of an image
    from other images. Those of DINO describe the content, so scores are not comparable with published ones.
    """
    a, b = (F.normalize(descriptors.double().flatten(1), dim=1) for descriptors in (first, second))
    cosines = a @ b.T
    same_noise = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    return Reproducibility(*_summary(cosines[same_noise]), *_summary(cosines[~same_noise]))


def _summary(cosines: Tensor) -> tuple[float, float]:
    """Return the fraction of alike pairs and the mean."""
    return (cosines > ALIKE_ABOVE).double().mean().item(), cosines.mean().item()
