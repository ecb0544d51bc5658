"""Tests of the statistics of latents."""

import math

import pytest
import torch

from analyze.measures.recovery import describe_latents, recovery
from diffusion.randomness import fixed_noise


def test_statistics_of_known_errors():
    x_T = fixed_noise((3, 8, 8), 50, 0)
    offset = torch.zeros_like(x_T)
    offset[:, 0, 0, 0] = 2.0
    errors = recovery(x_T, x_T / 2, x_T + offset)
    assert (errors.error_mean, errors.error_median, errors.error_p95) == pytest.approx((2, 2, 2))
    latents = describe_latents(x_T / 2, x_T, x_T / 2 - 3 * offset)
    assert latents.reconstruction_mean == pytest.approx(6) and errors.diverged == 0
    assert latents.correlation == pytest.approx(latents.correlation_floor, abs=0.2)
    assert latents.kl == pytest.approx(latents.kl_floor, abs=0.01)


def test_finite_latents_are_compared_with_as_much_noise():
    x_T = fixed_noise((3, 8, 8), 50, 0)
    partly_lost = torch.cat([x_T[:20], x_T[20:] * torch.nan])
    some, few = describe_latents(x_T, partly_lost, x_T), describe_latents(x_T[:20], x_T[:20], x_T[:20])
    assert (some.kl, some.kl_floor) == (few.kl, few.kl_floor)
    assert (some.correlation, some.correlation_floor) == (few.correlation, few.correlation_floor)


def test_latents_that_are_not_finite_count_as_lost():
    x_T = fixed_noise((3, 8, 8), 50, 0)
    lost = recovery(x_T, x_T, x_T * torch.nan)
    assert lost.diverged == 1 and lost.error_median == math.inf and math.isnan(lost.latent_angle)
    assert math.isnan(describe_latents(x_T, x_T * torch.nan, x_T).kl)
