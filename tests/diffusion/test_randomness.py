"""Tests that random numbers are a function of their address and never change."""

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from diffusion.randomness import fixed_noise, generator, normal

GOLDEN_NORMAL = [0.19124658405780792, 1.336067795753479, -1.0196270942687988]
GOLDEN_INTEGERS = [1540, 3742, 2661, 1635, 1340]
GOLDEN_PERMUTATION = [2, 8, 9, 1, 3, 0, 7, 5, 6, 4]
GOLDEN_FIXED_NOISE = [1.1352568864822388, -1.4695751667022705, 0.23484250903129578, 0.30801472067832947]


def test_random_numbers_equal_their_recorded_values():
    """All published numbers of this project depend on them, so they must not change with NumPy's version."""
    assert generator(0, "eps", 17, 3).standard_normal(3, dtype=np.float32).tolist() == GOLDEN_NORMAL
    assert generator(42, "t", 5).integers(0, 4000, 5).tolist() == GOLDEN_INTEGERS
    assert generator(10, "order", 1).permutation(10).tolist() == GOLDEN_PERMUTATION
    assert fixed_noise((1, 1, 2), 2, 0).flatten().tolist() == GOLDEN_FIXED_NOISE


def test_a_row_depends_only_on_its_address():
    """Other rows and their order have no influence, and therefore neither batch size nor number of processes."""
    addresses = [(step, i) for step in range(2) for i in range(4)]
    together = normal((3, 8, 8), 7, "eps", addresses)
    for row in (6, 0, 3):
        assert torch.equal(normal((3, 8, 8), 7, "eps", addresses[row : row + 1])[0], together[row])
    assert torch.equal(normal((3, 8, 8), 7, "eps", reversed(addresses)), together.flip(0))


def test_fixed_noise_of_fewer_samples_is_a_prefix():
    assert torch.equal(fixed_noise((3, 8, 8), 5, 0), fixed_noise((3, 8, 8), 20, 0)[:5])


def test_different_addresses_have_different_numbers():
    addresses = [
        (seed, purpose, i, j) for seed in (0, 1) for purpose in ("eps", "x_T") for i in range(5) for j in range(5)
    ]
    numbers = {generator(*address).bytes(16) for address in addresses}
    assert len(numbers) == len(addresses)


def test_streams_of_consecutive_addresses_do_not_overlap():
    """Tested with long streams of 50,000 words per address."""
    streams = [set(generator(0, "eps", 0, i).integers(2**63, size=50_000).tolist()) for i in range(4)]
    assert all(first.isdisjoint(second) for first, second in itertools.combinations(streams, 2))


def test_fixed_noise_is_standard_normal_and_uncorrelated():
    noise = fixed_noise((3, 16, 16), 512, 0)
    assert noise.dtype == torch.float32 and noise.shape == (512, 3, 16, 16)
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    across_samples, across_pixels = torch.corrcoef(noise.flatten(1)[:64]), torch.corrcoef(noise.flatten(1).T[:64])
    assert across_samples.fill_diagonal_(0).abs().max() < 5 / 768**0.5
    assert across_pixels.fill_diagonal_(0).abs().max() < 5 / 512**0.5


def test_an_index_of_more_than_three_numbers_is_rejected():
    with pytest.raises(ValueError):
        generator(0, "eps", 1, 2, 3, 4)
