"""Overlap of nearest neighbors between a checkpoint and the last one."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import squared_distances


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
    image = _overlap(_nearest_others(samples, knn_k), _nearest_others(last_samples, knn_k))
    of_noise = _nearest(squared_distances(noise, samples), knn_k)
    of_noise_last = _nearest(squared_distances(noise, last_samples), knn_k)
    return KnnCoverage(image, _overlap(of_noise, of_noise_last))


def _nearest(distances: Tensor, k: int) -> Tensor:
    """Return the indices [N, k] of the smallest distances in each row; the lower index wins a tie."""
    return distances.sort(dim=1, stable=True).indices[:, :k]


def _nearest_others(samples: Tensor, k: int) -> Tensor:
    distances = squared_distances(samples, samples)
    return _nearest(distances.fill_diagonal_(torch.inf), k)


def _overlap(neighbors: Tensor, last_neighbors: Tensor) -> float:
    n = len(neighbors)
    is_neighbor = torch.zeros(n, n, dtype=torch.bool, device=neighbors.device).scatter_(1, last_neighbors, True)
    return is_neighbor.gather(1, neighbors).double().mean().item()
