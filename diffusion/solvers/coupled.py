"""The base class of reversible samplers that carry an auxiliary state alongside x.

With the auxiliary state of sampling, their inverses are exact. A given image has none, and neither have images of
another sampler: the inversion then starts from a substitute and follows another trajectory.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.solvers.implicit import inverse_steps
from diffusion.solvers.solver import Step
from diffusion.solvers.spacing import SpacedSolver

States = tuple[Tensor, Tensor]  # x and the auxiliary state, [N, C, H, W] each


@dataclass(frozen=True)
class CoupledSolver(SpacedSolver):
    """A reversible sampler with `steps` steps; it never clips x_0, because a clipped step cannot be inverted."""

    def sample(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        return (x for x, _ in self.sample_coupled(denoiser, x_T, y))

    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        return (x for x, _ in self.invert_coupled(denoiser, x_0, None, y))

    @abstractmethod
    def sample_coupled(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[States]:
        """Yield x and the auxiliary state after every step from noise x_T [N, C, H, W]."""

    @abstractmethod
    def invert_coupled(
        self, denoiser: Denoiser, x_0: Tensor, auxiliary: Tensor | None, y: Tensor | None = None
    ) -> Iterator[States]:
        """Yield x and the auxiliary state after every step from images x_0 and the auxiliary state of their sampling.

        `auxiliary` None starts from the method's substitute for it.
        """

    def _sampling_steps(self, denoiser: Denoiser) -> list[Step]:
        return self.spacing.sampling(denoiser.levels, self.steps)

    def _inverse_steps(self, denoiser: Denoiser) -> list[Step]:
        return inverse_steps(self._sampling_steps(denoiser))


def last_states(states: Iterator[States]) -> States:
    """Return the last pair of states."""
    with torch.no_grad():
        *_, final = states
    return final
