"""Anderson acceleration with an extrapolated first guess: the most accurate inverter per evaluation here.

Anderson (1965), in the type-II form of Walker & Ni (2011), equation 4.1: of the last m + 1 iterates y_i with residuals
r_i = f(y_i) − y_i, the next iterate is Σ w_i f(y_i) with the weights that minimize ‖Σ w_i r_i‖, Σ w_i = 1, per image.
"""

import math
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
    """At most `rounds` evaluations per step, accelerated over the last `window` + 1 of them.

    The first guess moves x_s along ε extrapolated through the solutions of the last `order` + 1 steps, by a polynomial
    in λ = log(α/σ). The residual is preconditioned by the Jacobian that the denoiser of Gaussian data with standard
    deviation `data_std` would have. An image whose residual is at most `tolerance` per value (root
    mean square) takes no further evaluation.
    """

    rounds: int = 2
    window: int = 3
    order: int = 1
    data_std: float = 0.5
    tolerance: float = 0.0

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.rounds

    def solve(self, equation: StepEquation, history: Sequence[Solved]) -> Tensor:
        x = equation.along(extrapolate(history[-self.order - 1 :], equation)) if history else equation.x_s.clone()
        factor = 1 / (1 - equation.gaussian_slope(self.data_std)) if history else 1.0
        active = torch.arange(len(x), device=x.device)
        values: list[Tensor] = []
        residuals: list[Tensor] = []
        for _ in range(self.rounds):
            residual = equation.select(active)(x[active]) - x[active]
            values = [*values, x[active] + factor * residual][-self.window - 1 :]
            residuals = [*residuals, residual][-self.window - 1 :]
            x[active] = combine(affine_weights(residuals), values)
            unsolved = residual.flatten(1).square().mean(dim=1).sqrt() > self.tolerance
            active = active[unsolved]
            values, residuals = ([tensor[unsolved] for tensor in tensors] for tensors in (values, residuals))
            if len(active) == 0:
                break
        return x


def extrapolate(history: Sequence[Solved], equation: StepEquation) -> Tensor:
    """Return ε [N, C, H, W] at a step's end, extrapolated from solved steps by their Lagrange polynomial in λ."""
    nodes, target = [equation.position(solved.step.end) for solved in history], equation.position(equation.step.end)
    weights = [math.prod((target - other) / (node - other) for other in nodes if other != node) for node in nodes]
    return combine(torch.tensor([weights], device=history[0].eps.device), [solved.eps for solved in history])
