"""Divergence from the normal distribution: closed forms, and its expectation for a finite number of values."""

import math

import pytest
import torch
from torch import Tensor

from analyze.measures.normality import BINS, kl_to_normal


def quantiles(n: int) -> Tensor:
    """Return n evenly spaced quantiles of N(0, 1)."""
    return torch.special.ndtri((torch.arange(n, dtype=torch.float64) + 0.5) / n)


@pytest.mark.parametrize(("mean", "std"), [(0, 0.1), (0, 0.5), (0, 0.9), (0.3, 1), (1, 1), (0.5, 0.7)])
def test_matches_the_divergence_of_two_normal_distributions(mean, std):
    """Binning can only lose information, here less than 2 %."""
    exact = (std**2 + mean**2 - 1) / 2 - math.log(std)
    binned = kl_to_normal(mean + std * quantiles(1_000_000))
    assert 0.98 * exact < binned < exact + BINS / 2_000_000


def test_binning_hides_heavy_tails():
    """All values beyond the outermost edges of the bins count as equal."""
    exact = (1.5**2 - 1) / 2 - math.log(1.5)
    assert 0.8 * exact < kl_to_normal(1.5 * quantiles(1_000_000)) < 0.95 * exact


@pytest.mark.parametrize("n", [10_000, 100_000])
def test_random_values_have_the_expected_divergence(n):
    """2n·KL has a χ² distribution with bins − 1 degrees of freedom, whose mean over 16 draws has an error of 2 %."""
    generator = torch.Generator().manual_seed(0)
    values = [kl_to_normal(torch.randn(n, generator=generator)) for _ in range(16)]
    assert sum(values) / 16 == pytest.approx((BINS - 1) / (2 * n), rel=0.08)


def test_normal_quantiles_have_no_divergence_and_shape_is_irrelevant():
    values = quantiles(BINS * 100)
    assert kl_to_normal(values) == pytest.approx(0, abs=1e-12)
    assert kl_to_normal(values.reshape(10, -1, 16)) == kl_to_normal(values)


def test_equal_values_have_the_largest_divergence():
    assert kl_to_normal(torch.full((50,), 0.1)) == pytest.approx(math.log(BINS))
    assert kl_to_normal(torch.tensor([1e30, -1e30])) == pytest.approx(math.log(BINS / 2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_infinitely_far(value):
    assert kl_to_normal(torch.tensor([0.1, value])) == math.inf
