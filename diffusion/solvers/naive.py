"""Naive DDIM inversion under the conventions of published implementations.

Every convention replaces the unknown ε(x_t, t) of the exact inverse by an ε that is known when the step is taken
(Song et al., 2021, section 4.3). Implementations differ in three choices:

==================  ==================================  ============  ===========
implementation      image placed at                     ε evaluated   last level
==================  ==================================  ============  ===========
improved-diffusion  first timestep                      at the start  ᾱ = 0
diffusers           ᾱ = 1                               at the end    ᾱ_T
BELM                ᾱ = 1 (first evaluated at t = 1)    at the start  ᾱ_T
==================  ==================================  ============  ===========
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import PURE_NOISE, NoiseLevels
from diffusion.solvers.ddim import DdimSampler
from diffusion.solvers.implicit import inverse_steps
from diffusion.solvers.solver import Step

FIRST_TIMESTEP = 1  # at which BELM evaluates the network on the clean image


@dataclass(frozen=True)
class Naive(DdimSampler):
    """DDIM with the naive inverse of one convention; the default is diffusers'.

    `image_at` is the level of the image, `evaluate_at` says whether ε is evaluated at the start or the end of a step,
    and `end_at` is the level of the latent: that of the noisiest timestep, where sampling starts, or ᾱ = 0.
    """

    image_at: Literal["clean", "first"] = "clean"
    evaluate_at: Literal["start", "end"] = "end"
    end_at: Literal["last", "zero"] = "last"

    @property
    def inversion_evaluations(self) -> int:
        return self.steps - (self.image_at == "first") + (self.end_at == "zero")

    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        return self._follow(denoiser, x_0, self._inversion(denoiser.levels), y)

    def _inversion(self, levels: NoiseLevels) -> list[Step]:
        steps = inverse_steps(self.spacing.sampling(levels, self.steps))
        timesteps = [step.timestep for step in steps]
        evaluated = timesteps if self.evaluate_at == "end" else [FIRST_TIMESTEP, *timesteps[:-1]]
        moves = [Step(t, step.start, step.end) for t, step in zip(evaluated, steps, strict=True)]
        ending = [Step(timesteps[-1], steps[-1].end, PURE_NOISE)] if self.end_at == "zero" else []
        return [*moves[self.image_at == "first" :], *ending]
