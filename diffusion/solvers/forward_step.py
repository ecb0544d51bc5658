"""The forward step method: exact inversion by descent on the sampler's own step (Hong et al., 2024, CVPR).

From the naive guess, x_t is moved against the residual r = D(x_t, ε(x_t, t); t→s) − x_s of the sampling step, with a
step size that is warmed up and halved on plateaus, until ‖r‖² falls below a threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.implicit import ImplicitInverter, Solved, StepEquation

RELATIVE_IMPROVEMENT = 1e-4  # below which a round counts as a plateau


@dataclass(frozen=True)
class ForwardStep(ImplicitInverter):
    """At most `max_rounds` residual evaluations per step, after the evaluation of the naive guess.

    The step size is `step_size`·(k + 1)/`warmup` in round k < `warmup`, and is halved after more than `patience` rounds
    without improvement. An image whose ‖r‖² is below `threshold` takes no further evaluation.
    """

    max_rounds: int = 500
    threshold: float = 1e-3
    step_size: float = 0.5
    warmup: int = 20
    patience: int = 20

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * (2 + self.max_rounds)

    def solve(self, equation: StepEquation, history: Sequence[Solved]) -> Tensor:
        x = equation(equation.x_s)
        active = torch.arange(len(x), device=x.device)
        best = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        stalled, halvings = torch.zeros(len(x), device=x.device), torch.zeros(len(x), device=x.device)
        for k in range(self.max_rounds + 1):
            residual = equation.select(active).step_back(x[active]) - equation.x_s[active]
            loss = residual.flatten(1).square().sum(dim=1)
            unsolved = loss >= self.threshold
            active, residual, loss = active[unsolved], residual[unsolved], loss[unsolved]
            if len(active) == 0 or k == self.max_rounds:
                break
            size = self.step_size * min(1.0, (k + 1) / self.warmup) * 0.5 ** halvings[active]
            x[active] -= size.to(x.dtype)[:, None, None, None] * residual
            if k >= self.warmup:
                improved = loss < best[active] * (1 - RELATIVE_IMPROVEMENT)
                best[active] = torch.where(improved, loss, best[active])
                stalled[active] = torch.where(improved, 0.0, stalled[active] + 1)
                is_plateau = stalled[active] > self.patience
                halvings[active] += is_plateau
                stalled[active] = torch.where(is_plateau, 0.0, stalled[active])
        return x
