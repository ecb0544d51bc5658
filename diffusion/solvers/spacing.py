"""The steps that DDIM takes: at which timesteps the network is asked, and from which ᾱ to which x moves."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Step:
    """One step: x moves from ᾱ = `alpha_bar` to ᾱ = `alpha_bar_next` along what the network sees at `timestep`."""

    timestep: int
    alpha_bar: float
    alpha_bar_next: float


# ᾱ [training steps] in float64 and a number T → T steps, in the order in which they are taken.
StepRule = Callable[[Tensor, int], list[Step]]


def ddim_timesteps(schedule_steps: int, ddim_steps: int) -> list[int]:
    """The ascending timesteps 0, s, 2s, … of DDIM's uniform stride that are exactly `ddim_steps` many.

    The smallest such integer stride s is taken, as improved-diffusion's "ddimT" does. Raises ValueError where
    no stride gives that number. Source: Song et al. (2021), "DDIM", appendix D.2.
    """
    timesteps = list(range(0, schedule_steps, math.ceil(schedule_steps / ddim_steps)))
    if len(timesteps) != ddim_steps:
        raise ValueError(f"no integer stride over {schedule_steps} steps gives {ddim_steps} DDIM steps")
    return timesteps


def strided_sampling(alphas_cumprod: Tensor, ddim_steps: int) -> list[Step]:
    """improved-diffusion's way from noise to image, whose last step goes to ᾱ = 1 and returns the predicted x_0."""
    timesteps = ddim_timesteps(len(alphas_cumprod), ddim_steps)
    alpha_bars = [1.0, *alphas_cumprod[timesteps].tolist()]
    return [Step(timesteps[i], alpha_bars[i + 1], alpha_bars[i]) for i in reversed(range(ddim_steps))]


def strided_inversion(alphas_cumprod: Tensor, ddim_steps: int) -> list[Step]:
    """improved-diffusion's way from image to latent.

    The clean image is treated as standing at the first timestep already, and the last step goes to ᾱ = 0, so that
    the latent is the ε of the last step: the way the paper's authors invert DDPMs.
    """
    timesteps = ddim_timesteps(len(alphas_cumprod), ddim_steps)
    alpha_bars = [*alphas_cumprod[timesteps].tolist(), 0.0]
    return [Step(timesteps[i], alpha_bars[i], alpha_bars[i + 1]) for i in range(ddim_steps)]
