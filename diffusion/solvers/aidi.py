"""AIDI: accelerated fixed-point iteration on the inverse step (Pan et al., 2023, arXiv 2309.04907).

There is no official code; the Anderson variant follows the third-party implementation that is in use, the order in
which it stores iterates included: nothing is accelerated before the fourth evaluation. Images are independent here.
"""

from dataclasses import dataclass

from torch import Tensor

from diffusion.solvers.anderson import affine_weights, combine
from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation


@dataclass(frozen=True)
class AidiAnderson(ImplicitInverter):
    """g = f(x_s); `rounds` times y = AA(g), g = f(y), with AA over the last `window` + 1 residuals g_i − y_i."""

    rounds: int = 5
    window: int = 3

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * (1 + self.rounds)

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        value = equation(equation.x_s)
        values: list[Tensor] = []
        residuals: list[Tensor] = []
        for _ in range(self.rounds):
            iterate = combine(affine_weights(residuals), values) if residuals else value
            value = equation(iterate)
            values = [*values, value][-self.window - 1 :]
            residuals = [*residuals, value - iterate][-self.window - 1 :]
        return value


@dataclass(frozen=True)
class AidiEmpirical(ImplicitInverter):
    """p = x_s, q = f(x_s); `rounds` times (p, q) ← (q, (f(p) + f(q)) / 2), as published: two evaluations per round."""

    rounds: int = 5

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * (1 + 2 * self.rounds)

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        p, q = equation.x_s, equation(equation.x_s)
        for _ in range(self.rounds):
            p, q = q, (equation(p) + equation(q)) / 2
        return q
