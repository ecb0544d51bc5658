"""The interface of samplers with their inverses, and the integration loop that they share."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import Level


@dataclass(frozen=True)
class Step:
    """One step from noise level `start` to noise level `end`, with the network evaluated at `timestep`."""

    timestep: float
    start: Level
    end: Level

    @property
    def is_null(self) -> bool:
        """Whether x does not move, as in the last step of a scheduler that ends at the level of timestep 0."""
        return math.isclose(self.start.sigma, self.end.sigma) and math.isclose(self.start.alpha, self.end.alpha)


class Solver(ABC):
    """A sampler x_T → x_0 and its inverse x_0 → x̂_T.

    Both directions yield the state x [N, C, H, W] after every step; the last state is the result. `y` [N] are class
    labels or None.
    """

    @property
    @abstractmethod
    def sampling_evaluations(self) -> int:
        """Network evaluations per image in the sampling direction."""

    @property
    @abstractmethod
    def inversion_evaluations(self) -> int:
        """Network evaluations per image in the inversion direction."""

    @abstractmethod
    def sample(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the states on the way from noise x_T [N, C, H, W] to the image x_0."""

    @abstractmethod
    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        """Yield the states on the way from images x_0 [N, C, H, W] to the latent x̂_T."""


class StepUpdate(Protocol):
    """The update rule of a single step: x_t [N, C, H, W] and the x_0 and ε predicted from it → the next x_t."""

    def __call__(self, x_t: Tensor, x_0: Tensor, eps: Tensor, step: Step) -> Tensor: ...


@torch.no_grad()
def integrate(
    denoiser: Denoiser, x: Tensor, steps: Sequence[Step], update: StepUpdate, y: Tensor | None = None
) -> Iterator[Tensor]:
    """Yield x [N, C, H, W] after each step, evaluating the network once per step."""
    for step in steps:
        x_0, eps = denoiser.predict(x, step.timestep, step.start, y)
        x = update(x, x_0, eps, step)
        yield x


def final_state(states: Iterator[Tensor]) -> Tensor:
    """Return the last state of a trajectory."""
    *_, final = states
    return final
