"""GNRI as published: guided "Newton–Raphson" inversion (Samuel et al., 2024, arXiv 2312.12540).

In z = x/α, with n = z_s + (σ̄_t − σ̄_s)·ε(α_t·y, t), σ̄ = σ/α, and the prior-guided residual
F = |n − y| + (guidance/2)·((n − z_0)/σ̄_t)², a round moves y by (ΣF/divisor)·sign(n − y). The published code runs the
network without gradients, so that no Jacobian enters and the step size is the same at every noise level.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation


@dataclass(frozen=True)
class Gnri(ImplicitInverter):
    """`rounds` evaluations per step; the result is the n with the smallest mean F, per image.

    `divisor` is written into the published code: the number of values of a 64 × 64 × 4 latent.
    """

    rounds: int = 2
    guidance: float = 0.1
    divisor: float = 16384.0

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.rounds

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        start, end = equation.step.start, equation.step.end
        ratio, rise = end.sigma / end.alpha, end.sigma / end.alpha - start.sigma / start.alpha
        z_s, y = equation.x_s / start.alpha, equation.x_s / start.alpha
        best, best_score = z_s, torch.full((len(z_s),), torch.inf, dtype=z_s.dtype, device=z_s.device)
        for _ in range(self.rounds):
            n = z_s + rise * equation.eps(end.alpha * y)
            objective = ((n - y).abs() + self.guidance / 2 * ((n - equation.x_0) / ratio) ** 2).flatten(1)
            is_better = objective.mean(dim=1) < best_score
            best = torch.where(is_better[:, None, None, None], n, best)
            best_score = torch.where(is_better, objective.mean(dim=1), best_score)
            y = y + (objective.sum(dim=1) / self.divisor)[:, None, None, None] * (n - y).sign()
        return end.alpha * best
