"""Singular vector canonical correlation analysis (SVCCA): similarity of the main directions of two sets of images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.cache import cache_last
from analyze.measures.standardize import standardize

DIRECTIONS = 10
PIXELS_AT_ONCE = 1024


@dataclass(frozen=True)
class Svcca:
    """Mean canonical correlation of the ten main directions, from 0 to 1."""

    mean: float


def svcca(samples: Tensor, last_samples: Tensor) -> Svcca:
    """Compute SVCCA between the images [N, C, H, W] of a checkpoint and those of the last one.

    Every pixel is standardized over the images; a constant pixel becomes 0. The main directions are the left singular
    vectors of the 10 largest singular values, or of all nonzero ones if there are fewer (at most N − 1). The value is
    0 if all images of a set are equal, because there are no directions. Source: Raghu et al. (2017).

    The directions are exact: from eigenvectors of the Gram matrix in float64. The authors use a randomized
    decomposition (`torch.svd_lowrank` with as many columns as directions), which misses most of the smaller directions
    and changes from run to run.
    """
    cosines = torch.linalg.svdvals(_main_directions(samples).T @ _cached_main_directions(last_samples))
    return Svcca(cosines.clamp(max=1).mean().item() if len(cosines) else 0.0)


def _main_directions(images: Tensor) -> Tensor:
    """Return orthonormal columns [N, at most 10]: the left singular vectors of the standardized pixels."""
    pixels = images.flatten(1)
    if pixels.shape[1] < len(images):  # the smaller of the two Gram matrices: both have the same nonzero eigenvalues
        columns = standardize(pixels)
        values, vectors = _main_eigenvectors(columns.T @ columns, len(images) - 1)
        return columns @ vectors / values.sqrt()
    return _main_eigenvectors(_gram(images), len(images) - 1)[1].clone()  # not a view of all eigenvectors


def _main_eigenvectors(gram: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Return the largest nonzero eigenvalues, at most 10 and at most `most`, and their eigenvectors as columns."""
    values, vectors = torch.linalg.eigh(gram)
    threshold = values[-1] * len(values) * torch.finfo(values.dtype).eps  # smaller eigenvalues are rounding errors
    first = len(values) - min(DIRECTIONS, most, int((values > threshold).sum()))
    return values[first:], vectors[:, first:]


_cached_main_directions = cache_last(_main_directions)


def _gram(images: Tensor) -> Tensor:
    """Return the inner products [N, N] of the images with standardized pixels, in float64."""
    gram = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)
    for pixels in images.flatten(1).split(PIXELS_AT_ONCE, dim=1):
        columns = standardize(pixels)
        gram += columns @ columns.T
    return gram
