"""The forward step method for DPM-Solver++(2M) (Hong et al., 2024, CVPR, algorithm 2).

Sampling moves x_t to x_s = D(x_t, ε(x_t, t); t→s) − ½·α_s·(e^{−h} − 1)·(h/h_0)·(x̂_0(x_t, t) − x̂_0(x_r, r)), where r is
the level before t, h = λ_s − λ_t and h_0 = λ_t − λ_r. The term of second order is computed once, from states y_t and
y_r that naive inversion reaches in finer steps; then the descent solves for x_t. This is the variant in the authors'
code; the paper also descends by gradients.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import CLEAN, log_snr
from diffusion.solvers.dpm_solver import DpmSolver
from diffusion.solvers.forward_step import Descent
from diffusion.solvers.implicit import StepEquation, inverse_steps
from diffusion.solvers.solver import Step

FINE_STEPS = 100  # of naive inversion over the whole schedule: a stride of 10 of 1,000 timesteps


@dataclass(frozen=True)
class DpmForwardStep(DpmSolver):
    """DPM-Solver++(2M) with an inverse of at most `max_rounds` rounds of the descent per step.

    The step size is 0.01·(training steps)/s, and 1 at most, where s is the timestep at the start of an inverse step.
    The first and the last one have no term of second order: sampling starts and ends with a step of order 1.
    """

    max_rounds: int = 500
    threshold: float = 1e-3

    @property
    def inversion_evaluations(self) -> int:
        middle = 2 * self._fine_steps + 2 + self.max_rounds
        return 2 * (1 + self.max_rounds) + (self.steps - 2) * middle

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        x, clip = x_0, self.clips(denoiser)
        steps = inverse_steps(self.spacing.sampling(denoiser.levels, self.steps))
        for i, step in enumerate(steps):
            equation = StepEquation(denoiser, x_0, x, step, y, clip)
            size = self._step_size(steps[i - 1].timestep, len(denoiser.levels)) if i else 1.0
            if 0 < i < len(steps) - 1:
                guess, target = self._second_order(equation, *steps[i - 1 : i + 2])
                x = Descent(size, self.max_rounds, self.threshold, patience=math.inf)(equation, guess, target)
            else:
                x = Descent(size, self.max_rounds, self.threshold)(equation, equation(x), target=x)
            yield x

    @staticmethod
    def _step_size(timestep: float, training_steps: int) -> float:
        return min(1.0, 0.01 * training_steps / max(timestep, 1))

    def _second_order(self, equation: StepEquation, before: Step, step: Step, after: Step) -> tuple[Tensor, Tensor]:
        """Return y_t, and x_s plus the term of second order: the target of the step of order 1."""
        y_t = self._invert_finely(equation, equation.x_s, before.timestep, step)
        y_r = self._invert_finely(equation, y_t, step.timestep, after)
        difference = predict_x_0(equation, y_t, step) - predict_x_0(equation, y_r, after)
        h, h_0 = log_snr(step.start) - log_snr(step.end), log_snr(step.end) - log_snr(after.end)
        return y_t, equation.x_s + 0.5 * step.start.alpha * math.expm1(-h) * h / h_0 * difference

    def _invert_finely(self, equation: StepEquation, x: Tensor, start: float, step: Step) -> Tensor:
        """Return the state at a step's end after naive inversion from timestep `start` in finer steps."""
        levels, count = equation.denoiser.levels, self._fine_steps
        timesteps = [round(start + (step.timestep - start) * j / count) for j in range(1, count)]
        ends = [step.start, *(levels[timestep] for timestep in timesteps), step.end]
        for timestep, (low, high) in zip([*timesteps, step.timestep], pairwise(ends), strict=True):
            x = replace(equation, x_s=x, step=Step(timestep, low, high))(x)
        return x

    @property
    def _fine_steps(self) -> int:
        return max(1, round(FINE_STEPS / self.steps))


def predict_x_0(equation: StepEquation, x: Tensor, step: Step) -> Tensor:
    """Return x̂_0(x) [N, C, H, W] at a step's end: one network evaluation per image."""
    return replace(equation, step=replace(step, start=CLEAN)).step_back(x)
