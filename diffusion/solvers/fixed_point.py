"""Fixed-point iteration on the implicit equation of DDIM's inverse step.

Source: Samuel et al. (2023), "FPI"; the plain iteration of Pan et al. (2023), "AIDI", equation 8.
"""

from dataclasses import dataclass

from torch import Tensor

from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation


@dataclass(frozen=True)
class FixedPoint(ImplicitInverter):
    """y⁰ = x_s, y^{k+1} = f(y^k), for `rounds` evaluations per step; one round is naive inversion."""

    rounds: int = 3

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.rounds

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        x = equation.x_s
        for _ in range(self.rounds):
            x = equation(x)
        return x
