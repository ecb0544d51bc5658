"""Tests of noise schedules against improved-diffusion, and of their end points."""

import math

import pytest
import torch

from configs.schema import Diffusion
from diffusion.schedule import Schedule

BOTH = pytest.mark.parametrize("kind", ["cosine", "linear"])


@pytest.mark.parametrize("name", ["unet32", "unet64"], ids=["cosine", "linear"])
@pytest.mark.parametrize(
    "quantity", ["betas", "alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"]
)
def test_schedule_equals_improved_diffusion(name, quantity, request):
    """Up to 1e-12, or to rounding errors of 1 in small β = 1 − ᾱ_t/ᾱ_{t−1}, which depend on the C library."""
    reference = request.getfixturevalue(name)
    actual = getattr(reference.schedule, quantity)
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, reference[quantity], rtol=1e-12, atol=2e-16)


@pytest.mark.parametrize("steps", [1000, 4000])
def test_linear_schedule_has_the_end_points_of_ddpm(steps):
    betas = Schedule.from_config(Diffusion(schedule="linear", steps=steps)).betas
    assert betas[[0, -1]].tolist() == pytest.approx([0.1 / steps, 20 / steps], rel=1e-12)


def test_cosine_schedule_follows_its_formula_except_for_the_clipped_beta():
    schedule = Schedule.from_config(Diffusion(schedule="cosine", steps=1000))
    u = torch.arange(1, 1001, dtype=torch.float64) / 1000
    formula = ((u + 0.008) / 1.008 * math.pi / 2).cos() ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(schedule.alphas_cumprod[:-1], formula[:-1], rtol=1e-9, atol=0)
    assert schedule.betas[-1] == 0.999


@BOTH
def test_alphas_cumprod_decrease_from_almost_one_to_almost_zero(kind):
    alphas_cumprod = Schedule.from_config(Diffusion(schedule=kind, steps=1000)).alphas_cumprod
    assert (alphas_cumprod.diff() < 0).all()
    assert alphas_cumprod[0] > 0.9998
    assert 0 < alphas_cumprod[-1] < 1e-4


@BOTH
def test_posterior_satisfies_bayes_theorem(kind):
    """q(x_{t−1} | x_0), the posterior averaged over q(x_t | x_0), has mean √ᾱ_{t−1} x_0 and variance 1 − ᾱ_{t−1}."""
    schedule = Schedule.from_config(Diffusion(schedule=kind, steps=1000))
    previous, current = schedule.alphas_cumprod_prev, schedule.alphas_cumprod
    mean = schedule.posterior_mean_x_0 + schedule.posterior_mean_x_t * current.sqrt()
    variance = schedule.posterior_mean_x_t**2 * (1 - current) + schedule.posterior_variance
    torch.testing.assert_close(mean, previous.sqrt(), rtol=1e-9, atol=0)
    torch.testing.assert_close(variance, 1 - previous, rtol=1e-9, atol=1e-15)


@BOTH
def test_the_posterior_at_the_first_step_is_deterministic(kind):
    schedule = Schedule.from_config(Diffusion(schedule=kind, steps=1000))
    assert schedule.posterior_variance[0] == 0
    assert schedule.posterior_mean_x_0[0].item() == pytest.approx(1, abs=1e-9)
    assert schedule.posterior_mean_x_t[0].item() == pytest.approx(0, abs=1e-9)
    assert schedule.posterior_log_variance_clipped[0] == schedule.posterior_log_variance_clipped[1]
