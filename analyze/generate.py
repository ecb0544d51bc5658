"""A denoiser and the fixed noise → samples, latents and what else measures ask for, a batch at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from configs.errors import UserError
from configs.schema import Analyze
from diffusion import ddim
from diffusion.denoiser import Denoiser

TRAJECTORY_POINTS = 25  # times at which x_t is kept, the noise and the image among them


def sample(denoiser: Denoiser, noise: Tensor, options: Analyze) -> Tensor:
    """Images x_0 [N, C, H, W] by DDIM from noise x_T; image i is of class i modulo the number of classes, if any."""

    def run(x_T: Tensor, y: Tensor | None) -> Tensor:
        return ddim.last(ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y))

    return _in_batches(denoiser, noise, options, run)


def invert(denoiser: Denoiser, images: Tensor, options: Analyze) -> Tensor:
    """Latents x̂_T [N, C, H, W] by DDIM inversion of images x_0."""

    def run(x_0: Tensor, y: Tensor | None) -> Tensor:
        return ddim.last(ddim.inversion(denoiser, x_0, options.ddim_steps, options.clip_denoised, y))

    return _in_batches(denoiser, images, options, run)


def trajectory(denoiser: Denoiser, noise: Tensor, options: Analyze) -> Tensor:
    """x_t [K, n, C, H, W] at K evenly spread points of the way from noise x_T [n, C, H, W] to the image."""
    kept = trajectory_steps(options.ddim_steps)

    def run(x_T: Tensor, y: Tensor | None) -> Tensor:
        path = ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y)
        points = [x_T, *(x for i, x in enumerate(path, start=1) if i in kept)]
        return torch.stack(points, dim=1)

    return _in_batches(denoiser, noise, options, run).transpose(0, 1).contiguous()


def trajectory_steps(ddim_steps: int) -> list[int]:
    """After how many of the DDIM steps x_t is kept, from 0 (the noise) to all (the image)."""
    points = min(TRAJECTORY_POINTS, ddim_steps + 1)
    return [round(i * ddim_steps / (points - 1)) for i in range(points)]


def _in_batches(
    denoiser: Denoiser, inputs: Tensor, options: Analyze, run: Callable[[Tensor, Tensor | None], Tensor]
) -> Tensor:
    """run(batch, labels) of all batches, put together on the CPU. Raises UserError where numbers are not finite."""
    outputs = []
    for start in range(0, len(inputs), options.batch_size):
        batch = inputs[start : start + options.batch_size].to(denoiser.device)
        outputs.append(run(batch, denoiser.labels(start, len(batch))).float().cpu())
    made = torch.cat(outputs)
    if not made.isfinite().all():
        raise UserError("the model puts out numbers that are not finite")
    return made
