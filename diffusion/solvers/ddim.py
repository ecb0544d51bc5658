"""Deterministic DDIM (η = 0): noise → image, and image → latent.

Source: Song et al. (2021), equation 12 with σ = 0, as improved-diffusion computes it: where clipping is on, the
predicted x_0 is clipped to [−1, 1] and ε is derived again from the clipped value.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.solvers.spacing import Step


def move(x_t: Tensor, x_0: Tensor, eps: Tensor, step: Step, clip: bool) -> Tensor:
    """x at the ᾱ where a step ends, from x_t [N, C, H, W] where it begins and the x_0 and ε predicted there."""
    if clip:
        x_0 = x_0.clamp(-1, 1)
        if step.alpha_bar < 1:  # of a clean image no noise can be derived
            eps = (x_t - math.sqrt(step.alpha_bar) * x_0) / math.sqrt(1 - step.alpha_bar)
    return math.sqrt(step.alpha_bar_next) * x_0 + math.sqrt(1 - step.alpha_bar_next) * eps


def sampling(
    denoiser: Denoiser, x_T: Tensor, ddim_steps: int, clip: bool | None = None, y: Tensor | None = None
) -> Iterator[Tensor]:
    """x_t after each of the `ddim_steps` steps from noise x_T [N, C, H, W] of classes y [N]; the last is x_0.

    `clip` None is as the model's own sampler does.
    """
    return _walk(denoiser, x_T, denoiser.sampling_steps(denoiser.alphas_cumprod, ddim_steps), clip, y)


def inversion(
    denoiser: Denoiser, x_0: Tensor, ddim_steps: int, clip: bool | None = None, y: Tensor | None = None
) -> Iterator[Tensor]:
    """x_t after each of the `ddim_steps` steps from images x_0 [N, C, H, W]; the last is the latent x̂_T."""
    return _walk(denoiser, x_0, denoiser.inversion_steps(denoiser.alphas_cumprod, ddim_steps), clip, y)


@torch.no_grad()
def _walk(denoiser: Denoiser, x: Tensor, steps: list[Step], clip: bool | None, y: Tensor | None) -> Iterator[Tensor]:
    clip = denoiser.clip if clip is None else clip
    for step in steps:
        x = move(x, *denoiser.predict(x, step, y), step, clip)
        yield x


def last(trajectory: Iterator[Tensor]) -> Tensor:
    """Where a trajectory ends."""
    *_, end = trajectory
    return end
