"""ReNoise inversion (Garibi et al., 2024, arXiv 2403.14602), without noise regularization.

Iterates y_{i+1} = D(x_s, ε(y_i, t)) from y_0 = x_s and averages ε over the last rounds; the averaging sets a floor to
the error. Steps in the low-noise quarter of the schedule have their own number of rounds and averaging range.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation
from diffusion.solvers.solver import Step

LOW_NOISE = 0.25  # share of the schedule in which the settings of the first steps apply


@dataclass(frozen=True)
class ReNoise(ImplicitInverter):
    """`rounds` + 1 evaluations per step; ε is averaged over the evaluations [start, stop) of `averaged`.

    `first_rounds` and `first_averaged` apply to timesteps below a quarter of the schedule. If no evaluation falls into
    the averaging range, the last iterate is the result.
    """

    rounds: int = 9
    averaged: tuple[int, int] = (8, 10)
    first_rounds: int = 5
    first_averaged: tuple[int, int] = (0, 5)

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * (1 + self.rounds)

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        rounds, (start, stop) = self.rounds, self.averaged
        if self._is_first(equation.step, len(equation.denoiser.levels)):
            rounds, (start, stop) = min(self.first_rounds, self.rounds), self.first_averaged
        x, predictions = equation.x_s, []
        for _ in range(rounds + 1):
            predictions.append(equation.eps(x))
            x = equation.along(predictions[-1])
        averaged = predictions[start:stop]
        return equation.along(torch.stack(averaged).mean(dim=0)) if averaged else x

    def _is_first(self, step: Step, training_steps: int) -> bool:
        return step.timestep < LOW_NOISE * training_steps
