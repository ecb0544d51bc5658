"""Optimal one-to-one assignment of noises to images."""

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from analyze.measures.cache import cache_last
from analyze.measures.pairwise import squared_distances


@dataclass(frozen=True)
class Assignment:
    """The assignment of noises to images with the smallest total squared L2 distance; costs are means per pair.

    `accuracy` is the fraction of images whose assigned noise is their own, from 0 to 1.
    """

    accuracy: float
    own_cost: float  # of each image with its own noise
    optimal_cost: float
    random_cost: float  # expected for a random assignment


def optimal_assignment(noise: Tensor, samples: Tensor, start: int, stop: int) -> Assignment:
    """Solve the assignment among the images from `start` to `stop` exactly, in O(n³) time and O(n²) memory.

    noise x_T and samples x_0 are [N, C, H, W]. The cost is squared because the norms of x_T and x_0 then add the same
    amount to every assignment: the optimum depends on the scalar products of x_T and x_0 alone. Each range of a
    checkpoint is solved once. If several assignments are optimal, the result is an arbitrary one of them.
    Source: Crouse (2016), "On implementing 2D rectangular assignment algorithms", in SciPy.
    """
    return _solver(noise, samples)(start, stop)


@cache_last
def _solver(noise: Tensor, samples: Tensor) -> Callable[[int, int], Assignment]:
    """Return a function that solves ranges of one checkpoint's images and caches the results."""
    return functools.cache(lambda start, stop: _solve(noise[start:stop], samples[start:stop]))


def _solve(noise: Tensor, samples: Tensor) -> Assignment:
    costs = squared_distances(samples, noise).cpu().numpy()
    images, assigned = linear_sum_assignment(costs)
    return Assignment(
        accuracy=float(np.mean(assigned == images)),
        own_cost=float(costs[images, images].mean()),
        optimal_cost=float(costs[images, assigned].mean()),
        random_cost=float(costs.mean()),
    )
