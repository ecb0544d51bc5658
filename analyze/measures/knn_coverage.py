"""Are the neighbours of an image the neighbours that it will have at the end of training?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import squared_distances


@dataclass(frozen=True)
class KnnCoverage:
    """Shares from 0 to 1: neighbours of each image among the images, and of each noise among the images."""

    image: float
    noise: float


def knn_coverage(noise: Tensor, samples: Tensor, last_samples: Tensor, *, knn_k: int) -> KnnCoverage:
    """The mean share of the k nearest images that are also among the k nearest at the last checkpoint.

    All tensors are [N, C, H, W] with N > k. `image`: neighbours of image i among the other images of the same
    checkpoint. `noise`: neighbours of noise i among the images, the reading of the figure's caption.
    Source: the paper, Figure 6.
    """
    image = _overlap(_nearest_others(samples, knn_k), _nearest_others(last_samples, knn_k))
    of_noise = _nearest(squared_distances(noise, samples), knn_k)
    of_noise_last = _nearest(squared_distances(noise, last_samples), knn_k)
    return KnnCoverage(image, _overlap(of_noise, of_noise_last))


def _nearest(distances: Tensor, k: int) -> Tensor:
    """Indices [N, k] of the smallest distances of each row; of equal ones, those that come first."""
    return distances.sort(dim=1, stable=True).indices[:, :k]


def _nearest_others(samples: Tensor, k: int) -> Tensor:
    distances = squared_distances(samples, samples)
    return _nearest(distances.fill_diagonal_(torch.inf), k)


def _overlap(neighbours: Tensor, last_neighbours: Tensor) -> float:
    n = len(neighbours)
    is_neighbour = torch.zeros(n, n, dtype=torch.bool, device=neighbours.device).scatter_(1, last_neighbours, True)
    return is_neighbour.gather(1, neighbours).double().mean().item()
