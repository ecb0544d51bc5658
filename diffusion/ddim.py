"""Deterministic DDIM (η = 0): noise → image, and image → latent.

Source: Song et al. (2021), equation 12 with σ = 0, in improved-diffusion's arithmetic: where clipping is on, the
predicted x_0 is clipped to [−1, 1] and ε is derived again from the clipped value.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.schedule import ddim_timesteps


def step(x_t: Tensor, eps: Tensor, alpha_bar: Tensor, alpha_bar_next: Tensor, clip: bool) -> Tensor:
    """x at ᾱ = `alpha_bar_next`, from x_t [N, C, H, W] at `alpha_bar` and the predicted ε (scalars in float64)."""
    scale, noise_scale = (1 / alpha_bar).sqrt().float(), (1 / alpha_bar - 1).sqrt().float()
    x_0 = scale * x_t - noise_scale * eps
    if clip:
        x_0 = x_0.clamp(-1, 1)
    eps = (scale * x_t - x_0) / noise_scale
    return alpha_bar_next.sqrt().float() * x_0 + (1 - alpha_bar_next).sqrt().float() * eps


@torch.no_grad()
def sampling(denoiser: Denoiser, x_T: Tensor, ddim_steps: int, clip: bool, y: Tensor | None = None) -> Iterator[Tensor]:
    """x_t after each of the `ddim_steps` steps from noise x_T [N, C, H, W] of classes y [N]; the last is x_0."""
    timesteps = ddim_timesteps(len(denoiser.alphas_cumprod), ddim_steps)
    # The image itself stands at ᾱ = 1, so the last step returns the (clipped) prediction of x_0.
    alpha_bars = [torch.ones((), dtype=torch.float64), *denoiser.alphas_cumprod[timesteps]]
    x = x_T
    for i in reversed(range(ddim_steps)):
        x = step(x, denoiser.eps(x, timesteps[i], y), alpha_bars[i + 1], alpha_bars[i], clip)
        yield x


@torch.no_grad()
def inversion(
    denoiser: Denoiser, x_0: Tensor, ddim_steps: int, clip: bool, y: Tensor | None = None
) -> Iterator[Tensor]:
    """x_t after each of the `ddim_steps` steps from images x_0 [N, C, H, W]; the last is the latent x̂_T.

    The clean image is treated as standing at the first timestep already, and the last step goes to ᾱ = 0, so
    that x̂_T is the ε of the last step: the way the paper's authors, and improved-diffusion, invert.
    """
    timesteps = ddim_timesteps(len(denoiser.alphas_cumprod), ddim_steps)
    alpha_bars = [*denoiser.alphas_cumprod[timesteps], torch.zeros((), dtype=torch.float64)]
    x = x_0
    for i in range(ddim_steps):
        x = step(x, denoiser.eps(x, timesteps[i], y), alpha_bars[i], alpha_bars[i + 1], clip)
        yield x


def last(trajectory: Iterator[Tensor]) -> Tensor:
    """Where a trajectory ends."""
    *_, end = trajectory
    return end
