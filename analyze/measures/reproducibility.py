"""Similarity of the images that two models generate from the same noise."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.dino import dino_features

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
    return _compare(
        *(images - images.mean(dim=(1, 2, 3), keepdim=True) for images in (first.double(), second.double()))
    )


def dino_reproducibility(first: Tensor, second: Tensor, dino_model: str) -> Reproducibility:
    """Compare images [N, C, H, W] of two models by the CLS features of DINO. Raises Unavailable if it cannot be loaded.

    Zhang et al. (2024) use the features of SSCD (Pizzi et al., 2022), a network trained to tell copies of an image from
    other images. DINO's features describe the content and the threshold is the same, so more pairs are alike.
    """
    return _compare(dino_features(first, dino_model), dino_features(second, dino_model))


def _compare(first: Tensor, second: Tensor) -> Reproducibility:
    """Compare vectors, any shape [N, …] in float64, by their cosines."""
    a, b = (F.normalize(vectors.flatten(1), dim=1) for vectors in (first, second))
    cosines = a @ b.T
    same = torch.eye(len(cosines), dtype=torch.bool, device=cosines.device)
    return Reproducibility(*_summary(cosines[same]), *_summary(cosines[~same]))


def _summary(cosines: Tensor) -> tuple[float, float]:
    """Return the fraction of alike pairs and the mean."""
    return (cosines > ALIKE_ABOVE).double().mean().item(), cosines.mean().item()
