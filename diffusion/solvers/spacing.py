"""Timestep spacing of DDIM: the timesteps at which the network is evaluated, and the noise levels between them."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from diffusion.denoiser import Denoiser
from diffusion.levels import CLEAN, PURE_NOISE, Level, NoiseLevels
from diffusion.solvers.solver import Solver, Step


class TimestepSpacing(ABC):
    """A choice of T steps over the noise levels of a model, in each direction."""

    @property
    def starts_from_pure_noise(self) -> bool:
        """Whether sampling starts at α = 0, where formulas that divide by α are not defined."""
        return False

    @abstractmethod
    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        """Return the steps from noise to image. Raises ValueError if the spacing cannot produce `steps` steps."""

    @abstractmethod
    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        """Return the steps from image to noise. Raises ValueError if the spacing cannot produce `steps` steps."""


class StridedSpacing(TimestepSpacing):
    """improved-diffusion's "ddimT" spacing: timesteps 0, s, 2s, … with the smallest integer stride s.

    Sampling ends at the clean image, the predicted x_0 of the last step. Inversion places the clean image at the first
    timestep and ends at pure noise (ᾱ = 0), so that the latent is the ε of the last step: the convention of the
    paper's authors.
    """

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        timesteps = ddim_timesteps(len(levels), steps)
        ends = [CLEAN, *(levels[t] for t in timesteps)]
        return [Step(timesteps[i], ends[i + 1], ends[i]) for i in reversed(range(steps))]

    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        timesteps = ddim_timesteps(len(levels), steps)
        ends = [*(levels[t] for t in timesteps), PURE_NOISE]
        return [Step(timesteps[i], ends[i], ends[i + 1]) for i in range(steps)]


class EulerSpacing(TimestepSpacing):
    """Uniform steps of flow matching, from pure noise (σ = 1) to the clean image; levels[i] has σ = i/(number − 1).

    DDIM's step is Euler's. The steps of the inversion are those of sampling in reverse, with the network evaluated at
    the start of each step, as when the differential equation is integrated from the image to the noise.
    """

    @property
    def starts_from_pure_noise(self) -> bool:
        return True

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        return [_uniform_step(levels, i / steps, (i - 1) / steps) for i in range(steps, 0, -1)]

    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        return [_uniform_step(levels, i / steps, (i + 1) / steps) for i in range(steps)]


def _uniform_step(levels: NoiseLevels, start: float, end: float) -> Step:
    """Return the step between two σ, with the network evaluated at the first."""
    return Step((len(levels) - 1) * start, Level(1 - start, start), Level(1 - end, end))


@dataclass(frozen=True)
class SpacedSolver(Solver):
    """Base class of solvers with `steps` steps of a timestep spacing.

    `clip` None clips x_0 to [−1, 1] if the model's own sampler does.
    """

    steps: int
    spacing: TimestepSpacing = StridedSpacing()
    clip: bool | None = None

    def clips(self, denoiser: Denoiser) -> bool:
        """Whether x_0 is clipped to [−1, 1] for this model."""
        return denoiser.clip if self.clip is None else self.clip


def ddim_timesteps(schedule_steps: int, ddim_steps: int) -> list[int]:
    """Return the ascending timesteps 0, s, 2s, … of DDIM's uniform stride with exactly `ddim_steps` entries.

    s is the smallest such integer stride, as in improved-diffusion's "ddimT". Raises ValueError if no stride gives
    that number. Source: Song et al. (2021), "DDIM", appendix D.2.
    """
    timesteps = list(range(0, schedule_steps, math.ceil(schedule_steps / ddim_steps)))
    if len(timesteps) != ddim_steps:
        raise ValueError(f"no integer stride over {schedule_steps} steps gives {ddim_steps} DDIM steps")
    return timesteps
