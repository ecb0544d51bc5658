"""Distances between all pairs of two sets of images."""

from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """‖aⁱ − bʲ‖² as float64 [len(a), len(b)] for images a and b [N, C, H, W].

    In float64, because the difference of large sums of squares would decide near ties by rounding in float32.
    """
    a, b = a.flatten(1).double(), b.flatten(1).double()
    return (a * a).sum(dim=1)[:, None] + (b * b).sum(dim=1)[None] - 2 * a @ b.T
