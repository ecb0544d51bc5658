"""The forward step method: exact inversion by descent on the sampler's own step (Hong et al., 2024, CVPR, algorithm 1).

From the naive guess, x_t is moved against the residual r = D(x_t, ε(x_t, t); t→s) − x_s of the sampling step, with a
step size that is warmed up and halved on plateaus, until ‖r‖² falls below a threshold.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation

RELATIVE_IMPROVEMENT = 1e-4  # below which a round counts as a plateau


@dataclass(frozen=True)
class Descent:
    """Settings of the descent: at most `max_rounds` evaluations of the residual.

    The step size is `step_size`·(k + 1)/`warmup` in round k < `warmup`, and is halved after more than `patience` rounds
    without improvement. An image whose ‖r‖² is below `threshold` takes no further evaluation.
    """

    step_size: float = 0.5
    max_rounds: int = 500
    threshold: float = 1e-3
    warmup: int = 20
    patience: float = 20

    def __call__(self, equation: StepEquation, x: Tensor, target: Tensor) -> Tensor:
        """Return x_t [N, C, H, W], from a guess x, that the sampling step moves close to a target."""
        x, active = x.clone(), torch.arange(len(x), device=x.device)
        best = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        stalled, halvings = torch.zeros_like(best), torch.zeros_like(best)
        for k in range(self.max_rounds):
            residual = equation.select(active).step_back(x[active]) - target[active]
            loss = residual.flatten(1).square().sum(dim=1)
            unsolved = loss >= self.threshold
            active, residual, loss = active[unsolved], residual[unsolved], loss[unsolved]
            if len(active) == 0:
                break
            warmup = (k + 1) / self.warmup if k < self.warmup else 0.5 ** halvings[active, None, None, None]
            x[active] -= self.step_size * warmup * residual
            improved = loss < best[active] * (1 - RELATIVE_IMPROVEMENT)
            best[active] = torch.where(improved, loss, best[active])
            stalled[active] = torch.where(improved, 0.0, stalled[active] + 1)
            is_plateau = stalled[active] > self.patience
            halvings[active] += is_plateau
            stalled[active] = torch.where(is_plateau, 0.0, stalled[active])
        return x


@dataclass(frozen=True)
class ForwardStep(ImplicitInverter):
    """The naive guess, and at most `max_rounds` rounds of the descent per step."""

    max_rounds: int = 500
    threshold: float = 1e-3

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * (1 + self.max_rounds)

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        descent = Descent(max_rounds=self.max_rounds, threshold=self.threshold)
        return descent(equation, equation(equation.x_s), target=equation.x_s)
