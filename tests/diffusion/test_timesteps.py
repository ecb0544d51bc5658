"""Timestep samplers: uniform and by importance, both unbiased."""

import numpy as np
import pytest
import torch

from diffusion.timesteps import HISTORY, UNIFORM_FRACTION, LossSecondMomentSampler, UniformSampler

STEPS = 8


def sampler_with_history(losses_of_t: list[list[float]]) -> LossSecondMomentSampler:
    sampler = LossSecondMomentSampler(len(losses_of_t))
    for t, losses in enumerate(losses_of_t):
        sampler.update(torch.full((len(losses),), t), torch.tensor(losses))
    return sampler


def test_uniform_samples_are_a_function_of_seed_and_step():
    sampler = UniformSampler(4000)
    t, weights = sampler.sample(16, seed=0, step=5)
    assert (t == sampler.sample(16, seed=0, step=5)[0]).all() and (weights == 1).all()
    assert (t != sampler.sample(16, seed=0, step=6)[0]).any() and (t != sampler.sample(16, seed=1, step=5)[0]).any()


def test_uniform_samples_cover_all_timesteps():
    t, _ = UniformSampler(STEPS).sample(2000, seed=0, step=0)
    assert (np.bincount(t, minlength=STEPS) > 2000 / STEPS / 2).all()


def test_second_moment_sampling_is_uniform_until_all_timesteps_have_a_history():
    sampler = sampler_with_history([[1.0] * HISTORY] * (STEPS - 1) + [[5.0] * (HISTORY - 1)])
    assert (sampler.probabilities() == 1 / STEPS).all()
    sampler.update(torch.tensor([STEPS - 1]), torch.tensor([5.0]))
    assert sampler.probabilities()[-1] > 2 * sampler.probabilities()[0]


def test_second_moment_probabilities_follow_equation_18():
    losses = [[0.1 * (t + 1) * (i + 1) for i in range(HISTORY)] for t in range(STEPS)]
    size = np.sqrt(np.mean(np.square(losses), axis=1))
    expected = (1 - UNIFORM_FRACTION) * size / size.sum() + UNIFORM_FRACTION / STEPS
    assert sampler_with_history(losses).probabilities() == pytest.approx(expected, rel=1e-6)


def test_oldest_losses_are_replaced():
    old_then_new = sampler_with_history([[100.0] * 7 + [1.0] * HISTORY] + [[1.0] * HISTORY] * (STEPS - 1))
    assert old_then_new.probabilities() == pytest.approx(np.full(STEPS, 1 / STEPS))


def test_loss_weights_make_importance_sampling_unbiased():
    """The weighted mean of a function of t is its mean over all t."""
    sampler = sampler_with_history([[float(t + 1)] * HISTORY for t in range(STEPS)])
    t, weights = sampler.sample(200_000, seed=0, step=0)
    assert (weights * t**2).mean() == pytest.approx(np.mean(np.arange(STEPS) ** 2), rel=0.01)
    assert weights.mean() == pytest.approx(1, rel=0.01)


def test_loaded_state_restores_the_history():
    sampler = sampler_with_history([[float(t + 1)] * HISTORY for t in range(STEPS)])
    restored = LossSecondMomentSampler(STEPS)
    restored.load_state_dict(sampler.state_dict())
    assert (restored.probabilities() == sampler.probabilities()).all()
    assert (restored.sample(32, 0, 3)[0] == sampler.sample(32, 0, 3)[0]).all()
