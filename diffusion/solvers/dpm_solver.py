"""DPM-Solver++ of order 1, 2 and 3 (multistep), and diffusers' approximate inverse.

Source: Lu et al. (2022), arXiv 2211.01095, algorithm 2 and appendix B, in λ = log(α/σ) with x_0 prediction:
x_t = (σ_t/σ_s)·x_s − α_t·(e^{−h} − 1)·D with h = λ_t − λ_s, where D extrapolates x_0 through the evaluations before.
The inverse applies the same update upwards in noise. It is explicit, so it is not the inverse of the sampling steps.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import log_snr
from diffusion.solvers.implicit import inverse_steps
from diffusion.solvers.solver import Step
from diffusion.solvers.spacing import SpacedSolver


@dataclass(frozen=True)
class DpmSolver(SpacedSolver):
    """DPM-Solver++(`order`M); the last sampling step is of order 1.

    The inversion places the image at the first timestep, since λ is infinite for a clean image.
    """

    order: int = 2

    @property
    def sampling_evaluations(self) -> int:
        return self.steps

    @property
    def inversion_evaluations(self) -> int:
        return self.steps - 1

    def sample(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        steps = self.spacing.sampling(denoiser.levels, self.steps)
        return self._integrate(denoiser, x_T, steps, [self.order] * (self.steps - 1) + [1], y)

    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        first, *steps = inverse_steps(self.spacing.sampling(denoiser.levels, self.steps))
        timesteps = [first.timestep, *(step.timestep for step in steps)]
        moves = [Step(t, step.start, step.end) for t, step in zip(timesteps, steps, strict=False)]
        return self._integrate(denoiser, x_0, moves, [self.order] * len(moves), y)

    @torch.no_grad()
    def _integrate(
        self, denoiser: Denoiser, x: Tensor, steps: Sequence[Step], orders: Sequence[int], y: Tensor | None
    ) -> Iterator[Tensor]:
        """Yield x after each step, which has at most its given order."""
        clip = self.clips(denoiser)
        lambdas: list[float] = []
        predictions: list[Tensor] = []
        for step, order in zip(steps, orders, strict=True):
            x_0, _ = denoiser.predict(x, step.timestep, step.start, y)
            predictions = [*predictions, x_0.clamp(-1, 1) if clip else x_0][-self.order :]
            lambdas = [*lambdas, log_snr(step.start)][-self.order :]
            x = _update(x, step, lambdas[-order:], predictions[-order:])
            yield x


def _update(x: Tensor, step: Step, lambdas: Sequence[float], predictions: Sequence[Tensor]) -> Tensor:
    """Return x at the end of a step from the latest x_0 predictions, at ascending or descending λ."""
    if step.is_null:
        return x
    if step.end.sigma == 0:
        return predictions[-1]
    h = log_snr(step.end) - lambdas[-1]
    phi_1 = math.expm1(-h)
    moved = step.end.sigma / step.start.sigma * x - step.end.alpha * phi_1 * predictions[-1]
    if len(predictions) == 1:
        return moved
    r_0 = (lambdas[-1] - lambdas[-2]) / h
    d1_0 = (predictions[-1] - predictions[-2]) / r_0
    if len(predictions) == 2:
        return moved - step.end.alpha * phi_1 / 2 * d1_0
    r_1 = (lambdas[-2] - lambdas[-3]) / h
    d1_1 = (predictions[-2] - predictions[-3]) / r_1
    d1, d2 = d1_0 + r_0 / (r_0 + r_1) * (d1_0 - d1_1), (d1_0 - d1_1) / (r_0 + r_1)
    phi_2 = phi_1 / h + 1
    return moved + step.end.alpha * phi_2 * d1 - step.end.alpha * (phi_2 / h - 0.5) * d2
