"""Addressed randomness: a draw is a function of its address, and stays what it was."""

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


def test_draws_are_what_they_have_always_been():
    """Every published number of this project stands on these: they must not change with NumPy."""
    assert generator(0, "eps", 17, 3).standard_normal(3, dtype=np.float32).tolist() == GOLDEN_NORMAL
    assert generator(42, "t", 5).integers(0, 4000, 5).tolist() == GOLDEN_INTEGERS
    assert generator(10, "order", 1).permutation(10).tolist() == GOLDEN_PERMUTATION
    assert fixed_noise((1, 1, 2), 2, 0).flatten().tolist() == GOLDEN_FIXED_NOISE


def test_a_row_depends_on_its_address_alone():
    """Not on which others are drawn with it, nor in which order: so not on batch size or number of processes."""
    addresses = [(step, i) for step in range(2) for i in range(4)]
    together = normal((3, 8, 8), 7, "eps", addresses)
    for place in (6, 0, 3):
        assert torch.equal(normal((3, 8, 8), 7, "eps", addresses[place : place + 1])[0], together[place])
    assert torch.equal(normal((3, 8, 8), 7, "eps", reversed(addresses)), together.flip(0))


def test_fixed_noise_of_fewer_samples_is_the_beginning_of_that_of_more():
    assert torch.equal(fixed_noise((3, 8, 8), 5, 0), fixed_noise((3, 8, 8), 20, 0)[:5])


def test_different_addresses_draw_different_numbers():
    addresses = [
        (seed, purpose, i, j) for seed in (0, 1) for purpose in ("eps", "x_T") for i in range(5) for j in range(5)
    ]
    drawn = {generator(*address).bytes(16) for address in addresses}
    assert len(drawn) == len(addresses)


def test_streams_of_neighbouring_addresses_do_not_overlap():
    """A long draw at one address meets none of the words of the next ones."""
    streams = [set(generator(0, "eps", 0, i).integers(2**63, size=50_000).tolist()) for i in range(4)]
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(streams, 2))


def test_fixed_noise_is_standard_normal_and_uncorrelated():
    noise = fixed_noise((3, 16, 16), 512, 0)
    assert noise.dtype == torch.float32 and noise.shape == (512, 3, 16, 16)
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > 0.01
    across_samples, across_pixels = torch.corrcoef(noise.flatten(1)[:64]), torch.corrcoef(noise.flatten(1).T[:64])
    assert across_samples.fill_diagonal_(0).abs().max() < 5 / 768**0.5
    assert across_pixels.fill_diagonal_(0).abs().max() < 5 / 512**0.5


def test_an_address_of_more_than_three_numbers_is_refused():
    with pytest.raises(ValueError):
        generator(0, "eps", 1, 2, 3, 4)
