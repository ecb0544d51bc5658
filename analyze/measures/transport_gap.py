"""Cost of the model's noise–image pairs relative to optimal transport."""

from dataclasses import dataclass

from torch import Tensor

from analyze.measures.assignment import optimal_assignment

MAX_IMAGES = 2048
MIN_IMAGES = 64  # of the smallest subset


@dataclass(frozen=True)
class TransportGap:
    """Excess cost relative to the optimal cost: of the model's pairs (`gap`), and expected of random pairs.

    `by_images` contains [n, gap, random] for the first n images.
    """

    gap: float
    random: float
    by_images: list[tuple[int, float, float]]


def transport_gap(noise: Tensor, samples: Tensor) -> TransportGap:
    """Compare Σ ‖x_0ⁱ − x_Tⁱ‖² with its minimum over all permutations of the noises.

    noise x_T and samples x_0 are [N, C, H, W]. The gap is 0 if the map from x_T to x_0 is the gradient of a convex
    function, as for Gaussian data. It grows with the number of images, because among more of them a better permutation
    exists, so it is computed for nested subsets of 64, 128, … images, and for all, at most MAX_IMAGES. `random` shows
    how much the pairing matters at all: in many dimensions it is small unless images resemble their noise.
    Source: Khrulkov et al. (2023), "Understanding DDPM latent codes through optimal transport".
    """
    by_images = [(count, *_gaps(noise, samples, count)) for count in subset_sizes(len(noise))]
    _, gap, random = by_images[-1]
    return TransportGap(gap, random, by_images)


def subset_sizes(images: int) -> list[int]:
    """Return the numbers of images of the nested subsets, ascending: powers of 2 from MIN_IMAGES, then all images."""
    largest = min(images, MAX_IMAGES)
    powers = [MIN_IMAGES * 2**i for i in range(largest.bit_length())]
    return [*(size for size in powers if size < largest), largest]


def _gaps(noise: Tensor, samples: Tensor, count: int) -> tuple[float, float]:
    """Return the gaps of the model's pairs and of random pairs among the first `count` images."""
    assignment = optimal_assignment(noise, samples, 0, count)
    optimal = assignment.optimal_cost
    return _excess(assignment.own_cost, optimal), _excess(assignment.random_cost, optimal)


def _excess(cost: float, optimal: float) -> float:
    """Return (cost − optimal) / optimal; 0 if rounding makes a cost smaller than the optimum."""
    return (cost - optimal) / optimal if cost > optimal else 0.0
