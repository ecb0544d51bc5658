"""Which timesteps a step looks at: even, or by the importance of their losses, and unbiased either way."""

import numpy as np
import pytest
import torch

from diffusion.timesteps import HISTORY, UNIFORM_SHARE, LossSecondMomentSampler, UniformSampler

STEPS = 8


def learned(losses_of_t: list[list[float]]) -> LossSecondMomentSampler:
    timesteps = LossSecondMomentSampler(len(losses_of_t))
    for t, losses in enumerate(losses_of_t):
        timesteps.update(torch.full((len(losses),), t), torch.tensor(losses))
    return timesteps


def test_uniform_draws_are_a_function_of_seed_and_step():
    timesteps = UniformSampler(4000)
    t, weights = timesteps.sample(16, seed=0, step=5)
    assert (t == timesteps.sample(16, seed=0, step=5)[0]).all() and (weights == 1).all()
    assert (t != timesteps.sample(16, seed=0, step=6)[0]).any() and (t != timesteps.sample(16, seed=1, step=5)[0]).any()


def test_uniform_draws_reach_every_timestep():
    t, _ = UniformSampler(STEPS).sample(2000, seed=0, step=0)
    assert (np.bincount(t, minlength=STEPS) > 2000 / STEPS / 2).all()


def test_second_moment_is_uniform_until_every_timestep_has_its_history():
    timesteps = learned([[1.0] * HISTORY] * (STEPS - 1) + [[5.0] * (HISTORY - 1)])
    assert (timesteps.probabilities() == 1 / STEPS).all()
    timesteps.update(torch.tensor([STEPS - 1]), torch.tensor([5.0]))
    assert timesteps.probabilities()[-1] > 2 * timesteps.probabilities()[0]


def test_second_moment_probabilities_are_those_of_equation_18():
    losses = [[0.1 * (t + 1) * (i + 1) for i in range(HISTORY)] for t in range(STEPS)]
    size = np.sqrt(np.mean(np.square(losses), axis=1))
    expected = (1 - UNIFORM_SHARE) * size / size.sum() + UNIFORM_SHARE / STEPS
    assert learned(losses).probabilities() == pytest.approx(expected, rel=1e-6)


def test_the_oldest_losses_are_forgotten():
    old_then_new = learned([[100.0] * 7 + [1.0] * HISTORY] + [[1.0] * HISTORY] * (STEPS - 1))
    assert old_then_new.probabilities() == pytest.approx(np.full(STEPS, 1 / STEPS))


def test_the_weights_make_importance_sampling_unbiased():
    """The weighted mean of any function of t is its mean over all t."""
    timesteps = learned([[float(t + 1)] * HISTORY for t in range(STEPS)])
    t, weights = timesteps.sample(200_000, seed=0, step=0)
    assert (weights * t**2).mean() == pytest.approx(np.mean(np.arange(STEPS) ** 2), rel=0.01)
    assert weights.mean() == pytest.approx(1, rel=0.01)


def test_a_state_brings_the_history_back():
    timesteps, other = learned([[float(t + 1)] * HISTORY for t in range(STEPS)]), LossSecondMomentSampler(STEPS)
    other.load(timesteps.state())
    assert (other.probabilities() == timesteps.probabilities()).all()
    assert (other.sample(32, 0, 3)[0] == timesteps.sample(32, 0, 3)[0]).all()
