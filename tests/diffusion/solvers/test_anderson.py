"""Rounds of Anderson inversion, spread over the steps, and the distance that a step moves x."""

import dataclasses
import itertools

import pytest
import torch

from diffusion.solvers.anderson import CONTRACTION, Anderson, spread_rounds
from diffusion.solvers.implicit import History, Solved, StepEquation, inverse_steps
from diffusion.solvers.spacing import StridedSpacing

STEPS = 10


@pytest.mark.parametrize("slopes", [(0.1, 0.9, 0.4), (0.05, 0.95, 0.5, *[0.15] * 40, 0.3, 0.5), (1.0, -0.1, 0.6)])
@pytest.mark.parametrize("rounds", [1, 2, 9])
def test_no_round_reduces_the_largest_error_more_at_another_step(slopes, rounds):
    spread = spread_rounds(slopes, rounds * len(slopes))
    assert sum(spread) == rounds * len(slopes) and spread[0] >= 1
    assert all(pair != (0, 0) for pair in itertools.pairwise(spread))
    errors = [(CONTRACTION * max(m, 0)) ** (k + 1) for m, k in zip(slopes, spread, strict=True)]
    without_last = [(CONTRACTION * max(m, 0)) ** k for m, k in zip(slopes, spread, strict=True) if k >= 2]
    assert max(errors) <= min(without_last, default=1.0)


@pytest.mark.parametrize("rounds", [1, 4, 20])
def test_a_step_moves_x_by_at_most_the_trust_region(rounds, trained32):
    """A network with an enormous slope cannot make a step diverge."""
    denoiser = dataclasses.replace(trained32.denoiser, network=lambda x, t, y: 1e3 * x.flip(1))
    x_0 = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    steps = inverse_steps(StridedSpacing().sampling(denoiser.levels, STEPS))
    first, step, *_ = steps
    equation = StepEquation(denoiser, x_0, x_0, step, y=None, clip=False)
    solver = Anderson(STEPS, rounds=rounds)
    x = solver.solve(equation, History(steps, 1, [Solved(first, torch.zeros_like(x_0))]))
    moved = (x - equation.along(torch.zeros_like(x_0))).square().mean(dim=(1, 2, 3)).sqrt()
    limit = max(1.0, solver.trust * STEPS * rounds) * step.end.sigma
    assert (moved > 0.1 * step.end.sigma).all() and (moved <= limit).all()


def test_the_second_step_starts_without_noise_if_it_is_ambiguous(trained32):
    """Its solution does not depend on the noise that the first step left."""
    denoiser = dataclasses.replace(trained32.denoiser, clip=False)
    x_0 = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    steps = inverse_steps(StridedSpacing().sampling(denoiser.levels, STEPS))
    first, step, *_ = steps
    equation = StepEquation(denoiser, x_0, x_0, step, y=None, clip=False)
    histories = [History(steps, 1, [Solved(first, eps)]) for eps in (torch.zeros_like(x_0), x_0)]
    results = [Anderson(STEPS).solve(equation, history) for history in histories]
    assert torch.equal(*results)
