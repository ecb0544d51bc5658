"""Distances between images, and the chunks within which images are matched."""

from collections.abc import Callable

import torch
from torch import Tensor

IMAGES_AT_ONCE = 128  # in float64
BLOCK = 1024  # rows of a matrix of distances that are in memory at once


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute ‖aⁱ − bʲ‖² as float64 [len(a), len(b)] for images a and b [N, C, H, W].

    float64, because in float32 the rounding of large sums of squares would decide near ties.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None] - 2 * a @ b.T


def nearest_of_each(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the index of the nearest b for each a, and of the nearest a for each b; the lower index wins a tie."""
    nearest_b, nearest_a = [], torch.zeros(len(b), dtype=torch.long, device=b.device)
    smallest = torch.full((len(b),), torch.inf, dtype=torch.float64, device=b.device)
    for start in range(0, len(a), BLOCK):
        distances = squared_distances(a[start : start + BLOCK], b)
        nearest_b.append(distances.argmin(dim=1))
        index = distances.argmin(dim=0)
        distance = distances.gather(0, index[None])[0]
        nearest_a = torch.where(distance < smallest, start + index, nearest_a)
        smallest = torch.minimum(smallest, distance)
    return torch.cat(nearest_b), nearest_a


def per_image(function: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    """Return a function's values [N] for tensors [N, …], computed for a few images at a time to limit the memory."""
    parts = zip(*(tensor.split(IMAGES_AT_ONCE) for tensor in tensors), strict=True)
    return torch.cat([function(*part) for part in parts])


def chunks(images: int, size: int) -> list[slice]:
    """Return disjoint ranges of exactly `size` images; a smaller remainder is dropped.

    If there are fewer than `size` images, all of them form one chunk.
    """
    size = min(size, images)
    return [slice(start, start + size) for start in range(0, images - size + 1, size)]
