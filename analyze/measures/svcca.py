"""How alike two sets of images are in their main directions: singular vector canonical correlation analysis."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.cache import kept
from analyze.measures.standardised import standardised

DIRECTIONS = 10
PIXELS_AT_ONCE = 1024


@dataclass(frozen=True)
class Svcca:
    """The mean of the canonical correlations of the ten main directions, from 0 to 1."""

    mean: float


def svcca(samples: Tensor, last_samples: Tensor) -> Svcca:
    """SVCCA of the images [N, C, H, W] of a checkpoint with those of the last one.

    Every pixel is standardised over the images; one that is the same in all of them becomes 0. The main directions
    are the left singular vectors of the 10 largest singular values, or as many as there are (at most N − 1). Where
    all images of a set are the same there are none and the value is 0. Source: Raghu et al. (2017).

    They are exact: the eigenvectors of the Gram matrix [N, N] in float64. The authors draw them at random instead
    (`torch.svd_lowrank` with as many columns as directions wanted), which misses most of the smaller ones and gives
    another value each time.
    """
    cosines = torch.linalg.svdvals(_main_directions(samples).T @ _main_directions_kept(last_samples))
    return Svcca(cosines.clamp(max=1).mean().item() if len(cosines) else 0.0)


def _main_directions(images: Tensor) -> Tensor:
    """Orthonormal columns [N, at most 10]: the left singular vectors of the standardised pixels."""
    values, vectors = torch.linalg.eigh(_gram(images))
    smallest = values[-1] * len(images) * torch.finfo(values.dtype).eps  # below, an eigenvalue is rounding
    rank = int((values > smallest).sum())
    return vectors[:, len(images) - min(DIRECTIONS, len(images) - 1, rank) :]


_main_directions_kept = kept(_main_directions)


def _gram(images: Tensor) -> Tensor:
    """Inner products [N, N] in float64 of the images with standardised pixels."""
    gram = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for pixels in images.flatten(1).split(PIXELS_AT_ONCE, dim=1):
        columns = standardised(pixels)
        gram += columns @ columns.T
    return gram
