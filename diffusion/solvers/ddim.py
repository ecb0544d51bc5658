"""Deterministic DDIM (η = 0) and its naive inversion.

Source: Song et al. (2021), equation 12 with σ = 0, as implemented in improved-diffusion: with clipping, the predicted
x_0 is clipped to [−1, 1] and ε is recomputed from the clipped value.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.solvers.solver import Step, integrate
from diffusion.solvers.spacing import SpacedSolver


@dataclass(frozen=True)
class DdimSampler(SpacedSolver):
    """Base class of DDIM with any inverse."""

    @property
    def sampling_evaluations(self) -> int:
        return self.steps

    def sample(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        return self._follow(denoiser, x_T, self.spacing.sampling(denoiser.levels, self.steps), y)

    def _follow(self, denoiser: Denoiser, x: Tensor, steps: Sequence[Step], y: Tensor | None) -> Iterator[Tensor]:
        return integrate(denoiser, x, steps, functools.partial(ddim_step, clip=self.clips(denoiser)), y)


@dataclass(frozen=True)
class Ddim(DdimSampler):
    """DDIM with the naive inverse of its timestep spacing."""

    @property
    def inversion_evaluations(self) -> int:
        return self.steps

    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        return self._follow(denoiser, x_0, self.spacing.inversion(denoiser.levels, self.steps), y)


def ddim_step(x_t: Tensor, x_0: Tensor, eps: Tensor, step: Step, clip: bool) -> Tensor:
    """Return x at the end of a step, from x_t [N, C, H, W] at its start and the x_0 and ε predicted from x_t."""
    if clip:
        x_0 = x_0.clamp(-1, 1)
        if step.start.sigma > 0:  # ε cannot be recomputed from a clean image
            eps = (x_t - step.start.alpha * x_0) / step.start.sigma
    return step.end.alpha * x_0 + step.end.sigma * eps
