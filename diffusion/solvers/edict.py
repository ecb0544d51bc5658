"""EDICT: exact inversion by coupled transformations (Wallace et al., 2023, arXiv 2211.12446, equations 14 and 15)."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.solvers.coupled import CoupledSolver, States
from diffusion.solvers.implicit import predict_eps, transfer
from diffusion.solvers.solver import Step


@dataclass(frozen=True)
class Edict(CoupledSolver):
    """Two sequences, each moved along the ε of the other and then mixed with weight `p`.

    The auxiliary state is the second sequence, which starts at x_T as well. Odd steps move the second one first, as
    published. Without it, both sequences start the inversion at x_0.
    """

    p: float = 0.93

    @property
    def sampling_evaluations(self) -> int:
        return 2 * self.steps

    @property
    def inversion_evaluations(self) -> int:
        return 2 * self.steps

    @torch.no_grad()
    def sample_coupled(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[States]:
        pair = [x_T, x_T]
        for i, step in enumerate(self._sampling_steps(denoiser)):
            first, second = (0, 1) if i % 2 == 0 else (1, 0)
            pair[first] = self._move(denoiser, pair[first], pair[second], step, y)
            pair[second] = self._move(denoiser, pair[second], pair[first], step, y)
            pair[0] = self.p * pair[0] + (1 - self.p) * pair[1]
            pair[1] = (1 - self.p) * pair[0] + self.p * pair[1]
            yield pair[0], pair[1]

    @torch.no_grad()
    def invert_coupled(
        self, denoiser: Denoiser, x_0: Tensor, auxiliary: Tensor | None, y: Tensor | None = None
    ) -> Iterator[States]:
        pair, steps = [x_0, x_0 if auxiliary is None else auxiliary], self._sampling_steps(denoiser)
        for i, step in reversed(list(enumerate(steps))):
            pair[1] = (pair[1] - (1 - self.p) * pair[0]) / self.p
            pair[0] = (pair[0] - (1 - self.p) * pair[1]) / self.p
            first, second = (0, 1) if i % 2 == 0 else (1, 0)
            pair[second] = self._move_back(denoiser, pair[second], pair[first], step, y)
            pair[first] = self._move_back(denoiser, pair[first], pair[second], step, y)
            yield pair[0], pair[1]

    def _move(self, denoiser: Denoiser, x: Tensor, other: Tensor, step: Step, y: Tensor | None) -> Tensor:
        return transfer(x, predict_eps(denoiser, other, step.timestep, step.start, y), step.start, step.end)

    def _move_back(self, denoiser: Denoiser, x: Tensor, other: Tensor, step: Step, y: Tensor | None) -> Tensor:
        return transfer(x, predict_eps(denoiser, other, step.timestep, step.start, y), step.end, step.start)
