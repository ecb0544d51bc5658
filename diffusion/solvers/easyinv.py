"""EasyInv: naive inversion that mixes successive states (Zhang et al., 2024, arXiv 2408.05159)."""

from dataclasses import dataclass

from torch import Tensor

from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation


@dataclass(frozen=True)
class EasyInv(ImplicitInverter):
    """In the steps i with start·T < i < (start + length)·T, x_s becomes η·x_s + (1 − η)·x of the step before.

    ε is evaluated before mixing, as published. The defaults are the published settings for SDXL.
    """

    start: float = 0.85
    length: float = 0.1
    eta: float = 0.8

    @property
    def inversion_evaluations(self) -> int:
        return self.steps

    @property
    def memory(self) -> int:
        return 1

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        eps, x_s, i = equation.eps(equation.x_s), equation.x_s, history.solved
        if self.start * self.steps < i < (self.start + self.length) * self.steps:
            before = history.newest[-1]
            x_before = equation.move(x_s, before.eps, before.step.end, before.step.start)
            x_s = self.eta * x_s + (1 - self.eta) * x_before
        return equation.move(x_s, eps, equation.step.start, equation.step.end)
