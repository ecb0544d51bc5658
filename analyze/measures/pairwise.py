"""Pairwise distances between two sets of images, and the chunks within which images are matched."""

from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Compute ‖aⁱ − bʲ‖² as float64 [len(a), len(b)] for images a and b [N, C, H, W].

    float64, because in float32 the rounding of large sums of squares would decide near ties.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None] - 2 * a @ b.T


def chunks(images: int, size: int) -> list[slice]:
    """Return disjoint ranges of exactly `size` images; a smaller remainder is dropped.

    If there are fewer than `size` images, all of them form one chunk.
    """
    size = min(size, images)
    return [slice(start, start + size) for start in range(0, images - size + 1, size)]
