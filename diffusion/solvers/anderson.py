"""Anderson acceleration with an extrapolated first guess: the most accurate inverter per evaluation here.

Anderson (1965), in the type-II form of Walker & Ni (2011), equation 4.1: of the last m + 1 iterates y_i with residuals
r_i = f(y_i) − y_i, the next iterate is Σ w_i f(y_i) with the weights that minimize ‖Σ w_i r_i‖, Σ w_i = 1, per image.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.implicit import ImplicitInverter, Solved, StepEquation

RIDGE = 1e-14  # of the Gram matrix's trace: keeps nearly dependent residuals from making its inverse overflow


def affine_weights(residuals: Sequence[Tensor]) -> Tensor:
    """Return the weights w [N, m] that minimize ‖Σ w_i r_i‖ per image subject to Σ w_i = 1, of m residuals [N, …]."""
    rows = torch.stack([residual.flatten(1) for residual in residuals], dim=1).double()
    gram = rows @ rows.transpose(1, 2)
    trace = gram.diagonal(dim1=1, dim2=2).sum(dim=1).clamp(min=torch.finfo(torch.float64).tiny)
    identity = torch.eye(len(residuals), dtype=gram.dtype, device=gram.device)
    weights = torch.linalg.solve(gram / trace[:, None, None] + RIDGE * identity, torch.ones_like(gram[:, :, 0]))
    return weights / weights.sum(dim=1, keepdim=True)


def combine(weights: Tensor, values: Sequence[Tensor]) -> Tensor:
    """Return Σ w_i v_i [N, C, H, W] with weights [N, m]."""
    columns = weights.to(values[0].dtype)[:, :, None, None, None]
    return sum(columns[:, i] * value for i, value in enumerate(values))  # type: ignore[return-value]


@dataclass(frozen=True)
class Anderson(ImplicitInverter):
    """`rounds` evaluations per step, accelerated over the last `window` + 1 of them, from an extrapolated first guess.

    The guess moves x_s along ε extrapolated by a polynomial of degree `order` through the steps before. `variable` is
    the abscissa: the step index, or the timestep's log-SNR λ = log(α/σ), or ᾱ-angle θ = arctan(σ/α).
    """

    rounds: int = 2
    window: int = 3
    order: int = 1
    variable: str = "index"

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.rounds

    def solve(self, equation: StepEquation, history: Sequence[Solved]) -> Tensor:
        iterate = self.first_guess(equation, history)
        values: list[Tensor] = []
        residuals: list[Tensor] = []
        for _ in range(self.rounds):
            value = equation(iterate)
            values = [*values, value][-self.window - 1 :]
            residuals = [*residuals, value - iterate][-self.window - 1 :]
            iterate = combine(affine_weights(residuals), values)
        return iterate

    def first_guess(self, equation, history):
        import math

        if not history:
            return equation.x_s
        past = history[-self.order - 1 :]

        def at(step, i):
            level = step.end
            return {
                "index": float(i),
                "log_snr": math.log(level.alpha / level.sigma),
                "angle": math.atan2(level.sigma, level.alpha),
                "t": float(step.timestep),
                "sigma": level.sigma / level.alpha,
            }[self.variable]

        nodes = [at(h.step, i) for i, h in enumerate(past)]
        target = at(equation.step, len(past))
        eps = 0
        for i, h in enumerate(past):
            w = 1.0
            for j, node in enumerate(nodes):
                if j != i:
                    w *= (target - node) / (nodes[i] - node)
            eps = eps + w * h.eps
        return equation.along(eps)
