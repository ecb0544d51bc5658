"""Anderson acceleration with extrapolated guesses, a trust region and uneven rounds: the most accurate inverter here.

Anderson (1965), in the type-II form of Walker & Ni (2011), equation 4.1: of the last m + 1 iterates y_i with residuals
r_i = f(y_i) − y_i, the next iterate is Σ w_i f(y_i) with the weights that minimize ‖Σ w_i r_i‖, Σ w_i = 1, per image.

The slope m of a step, the factor by which a round of fixed-point iteration multiplies an error in fine detail, is
known in advance (`StepEquation.gaussian_slope` at a small standard deviation). It is near 1 at the second step, which
leaves the level of the image, and below 0.5 at most others. Rounds are therefore spread so that the errors m^(k+1)
after k rounds are about equal.
"""

import functools
import heapq
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.gram import solve_gram
from diffusion.solvers.implicit import History, ImplicitInverter, Solved, StepEquation

DETAIL_STD = 0.005  # of values in [−1, 1]: finer than the rounding of 8-bit images
AMBIGUOUS_SLOPE = 0.5
CONTRACTION = 0.8  # of an accelerated round, relative to the slope
GAP_PENALTY = 4.0


def affine_weights(residuals: Sequence[Tensor]) -> Tensor:
    """Return the weights w [N, m] that minimize ‖Σ w_i r_i‖ per image subject to Σ w_i = 1, of m residuals [N, …]."""
    rows = torch.stack([residual.flatten(1) for residual in residuals], dim=1).double()
    gram = rows @ rows.transpose(1, 2)
    weights = solve_gram(gram, torch.ones_like(gram[:, :, 0]))
    return weights / weights.sum(dim=1, keepdim=True)


def combine(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Return Σ w_i v_i [N, C, H, W] with weights [N, m]."""
    columns = weights.to(values[0].dtype)[:, :, None, None, None]
    return sum(columns[:, i] * value for i, value in enumerate(values))  # type: ignore[return-value]


@dataclass(frozen=True)
class Anderson(ImplicitInverter):
    """`rounds` evaluations per step on average, accelerated over the last `window` + 1 of a step.

    A step's first guess moves x_s along ε extrapolated through the solutions of the last `order` + 1 steps, by a
    polynomial in λ = log(α/σ). The second step starts from ε = 0 if its slope is large: it can have several solutions,
    and the ε of an almost clean image can have the wrong sign. From the second step on, a round moves x by at most
    `trust`·σ_t per value (root mean square), or by σ_t/k in a step of few rounds k. The residual is preconditioned by
    the Jacobian that the denoiser of Gaussian data with standard deviation `data_std` would have. An image whose
    residual is at most `tolerance` per value (root mean square) takes no further evaluation.
    """

    rounds: int = 2
    window: int = 5
    order: int = 1
    data_std: float = 0.5
    trust: float = 0.2
    tolerance: float = 0.0

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.rounds

    @property
    def memory(self) -> int:
        return self.order + 1

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        x = equation.along(self._first_eps(equation, history))
        factor = 1 / (1 - equation.gaussian_slope(equation.step, self.data_std)) if history.solved else 1.0
        slopes = tuple(equation.gaussian_slope(step, DETAIL_STD) for step in history.steps)
        rounds = spread_rounds(slopes, self.inversion_evaluations)[history.solved]
        trust = max(self.trust, 1 / rounds) * equation.step.end.sigma if history.solved and rounds else math.inf
        active = torch.arange(len(x), device=x.device)
        values: list[Tensor] = []
        residuals: list[Tensor] = []
        for _ in range(rounds):
            residual = equation.select(active)(x[active]) - x[active]
            values = [*values, x[active] + factor * residual][-self.window - 1 :]
            residuals = [*residuals, residual][-self.window - 1 :]
            move = combine(affine_weights(residuals), values) - x[active]
            x[active] += move * (trust / _rms(move)).clamp(max=1)
            unsolved = _rms(residual).flatten() > self.tolerance
            active = active[unsolved]
            values, residuals = ([tensor[unsolved] for tensor in tensors] for tensors in (values, residuals))
            if len(active) == 0:
                break
        return x

    def _first_eps(self, equation: StepEquation, history: History) -> Tensor:
        is_ambiguous = history.solved == 1 and equation.gaussian_slope(equation.step, DETAIL_STD) > AMBIGUOUS_SLOPE
        if history.solved == 0 or is_ambiguous:
            return torch.zeros_like(equation.x_s)
        return extrapolate(history.newest, equation)


def _rms(x: Tensor) -> Tensor:
    """Return the root mean square of each image's values, [N, 1, 1, 1]."""
    return x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()


@functools.lru_cache(maxsize=4)
def spread_rounds(slopes: tuple[float, ...], total: int) -> tuple[int, ...]:
    """Return the rounds of each step, `total` in all: each goes to the step with the largest expected error.

    The error of a step with slope m is (0.8·m)^(k+1) after k rounds. A step without a round is left to extrapolation,
    whose error counts four times if the step before it has no round either. The first step always has one.
    """
    rounds = [1] + [0] * (len(slopes) - 1)

    def error(i: int) -> float:
        is_gap = i > 0 and rounds[i] == rounds[i - 1] == 0
        return (GAP_PENALTY if is_gap else 1.0) * (CONTRACTION * max(slopes[i], 0.0)) ** (rounds[i] + 1)

    queue = [(-error(i), i) for i in range(len(slopes))]
    heapq.heapify(queue)
    while sum(rounds) < total:
        expected, i = heapq.heappop(queue)
        if -expected == error(i):  # otherwise a step's error has decreased since it was queued
            rounds[i] += 1
        heapq.heappush(queue, (-error(i), i))
    return tuple(rounds)


def extrapolate(newest: Sequence[Solved], equation: StepEquation) -> Tensor:
    """Return ε [N, C, H, W] at a step's end, extrapolated from solved steps by their Lagrange polynomial in λ."""
    nodes, target = [equation.position(solved.step.end) for solved in newest], equation.position(equation.step.end)
    weights = [math.prod((target - other) / (node - other) for other in nodes if other != node) for node in nodes]
    return combine(torch.tensor([weights], device=newest[0].eps.device), [solved.eps for solved in newest])
