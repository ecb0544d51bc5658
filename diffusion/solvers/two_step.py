"""Reversible two-step samplers: linear recursions over three successive states and one ε."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import CLEAN, Level
from diffusion.solvers.coupled import CoupledSolver, States
from diffusion.solvers.implicit import predict_eps, transfer
from diffusion.solvers.solver import Step


@dataclass(frozen=True)
class TwoStepSolver(CoupledSolver):
    """x_p of sampling is a combination of x_t, x_s and ε(x_s, s), for levels t noisier than s noisier than p.

    The inverse solves the same combination for x_t. The first sampling step is DDIM's. The auxiliary state is the state
    one step before x. Without it, the inversion starts with DDIM's naive step, evaluated at `clean_timestep`.
    """

    @property
    def sampling_evaluations(self) -> int:
        return self.steps

    @property
    def inversion_evaluations(self) -> int:
        return self.steps

    @abstractmethod
    def clean_timestep(self, timesteps: list[float]) -> float:
        """Return the timestep at which a clean image is evaluated, for the ascending timesteps of sampling."""

    @abstractmethod
    def forward(self, x_t: Tensor, x_s: Tensor, eps: Tensor, t: Level, s: Level, p: Level) -> Tensor:
        """Return x_p."""

    @abstractmethod
    def backward(self, x_p: Tensor, x_s: Tensor, eps: Tensor, p: Level, s: Level, t: Level) -> Tensor:
        """Return x_t: the exact inverse of `forward`."""

    def _sampling_steps(self, denoiser: Denoiser) -> list[Step]:
        """Return the steps that move x: between equal levels, the combination does not depend on x_t."""
        return [step for step in super()._sampling_steps(denoiser) if not step.is_null]

    @torch.no_grad()
    def sample_coupled(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[States]:
        first, *steps = self._sampling_steps(denoiser)
        eps = predict_eps(denoiser, x_T, first.timestep, first.start, y)
        x_t, x_s, t = x_T, transfer(x_T, eps, first.start, first.end), first.start
        yield x_s, x_t
        for step in steps:
            eps = predict_eps(denoiser, x_s, step.timestep, step.start, y)
            x_t, x_s = x_s, self.forward(x_t, x_s, eps, t, step.start, step.end)
            t = step.start
            yield x_s, x_t

    @torch.no_grad()
    def invert_coupled(
        self, denoiser: Denoiser, x_0: Tensor, auxiliary: Tensor | None, y: Tensor | None = None
    ) -> Iterator[States]:
        first, *steps = self._inverse_steps(denoiser)
        if auxiliary is None:
            timestep = self.clean_timestep([step.timestep for step in (first, *steps)])
            auxiliary = transfer(x_0, predict_eps(denoiser, x_0, timestep, CLEAN, y), first.start, first.end)
        x_p, x_s = x_0, auxiliary
        yield x_s, x_p
        for last, step in pairwise((first, *steps)):  # the network evaluates x_s where sampling did
            eps = predict_eps(denoiser, x_s, last.timestep, last.end, y)
            x_p, x_s = x_s, self.backward(x_p, x_s, eps, last.start, last.end, step.end)
            yield x_s, x_p
