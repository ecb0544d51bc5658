"""Overlap of nearest neighbors between a checkpoint and the last one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import BLOCK, squared_distances


@dataclass(frozen=True)
class KnnCoverage:
    """Fractions from 0 to 1 for the neighbors of each image (`image`) and of each noise (`noise`) among the images."""

    image: float
    noise: float


def knn_coverage(noise: Tensor, samples: Tensor, last_samples: Tensor, *, knn_k: int) -> KnnCoverage:
    """Compute the mean fraction of the k nearest images that are also among the k nearest at the last checkpoint.

    All tensors are [N, C, H, W] with N > k. `image`: neighbors of image i among the other images of the same
    checkpoint. `noise`: neighbors of noise i among the images, as the figure's caption reads.
    Source: the paper, Figure 6.
    """
    return KnnCoverage(
        image=_coverage(samples, last_samples, knn_k), noise=_coverage(samples, last_samples, knn_k, noise)
    )


def _coverage(samples: Tensor, last_samples: Tensor, k: int, noise: Tensor | None = None) -> float:
    """Return the mean fraction of neighbors that a noise, or a sample among the other samples, shares in both sets."""
    shared = 0
    for start in range(0, len(samples), BLOCK):
        rows = torch.arange(start, min(start + BLOCK, len(samples)))
        neighbors, last_neighbors = (_nearest(images, rows, k, noise) for images in (samples, last_samples))
        is_neighbor = torch.zeros(len(rows), len(samples), dtype=torch.bool, device=samples.device)
        is_neighbor.scatter_(1, last_neighbors, True)
        shared += int(is_neighbor.gather(1, neighbors).sum())
    return shared / (k * len(samples))


def _nearest(images: Tensor, rows: Tensor, k: int, noise: Tensor | None) -> Tensor:
    """Return the indices [rows, k] of the nearest images; the lower index wins a tie.

    They are nearest to the noises of the given rows, or to the images of these rows, which are not their own neighbors.
    """
    distances = squared_distances((images if noise is None else noise)[rows], images)
    if noise is None:
        distances[torch.arange(len(rows)), rows] = torch.inf
    return distances.sort(dim=1, stable=True).indices[:, :k]
