"""A denoiser and the fixed noise → samples, latents and what else measures ask for, a batch at a time.

Where there are several denoisers, the same one on each of several devices, they share the batches.
"""

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from analyze.batch_size import images_at_once
from configs.errors import UserError
from configs.schema import Analyze
from diffusion.denoiser import Denoiser
from diffusion.solvers import ddim

TRAJECTORY_POINTS = 25  # times at which x_t is kept, the noise and the image among them


def sample(denoisers: Sequence[Denoiser], noise: Tensor, options: Analyze) -> Tensor:
    """Images x_0 [N, C, H, W] by DDIM from noise x_T, of classes as the options say."""

    def run(denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
        return ddim.last(ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y))

    return _in_batches(denoisers, noise, options, run)


def invert(denoisers: Sequence[Denoiser], images: Tensor, options: Analyze) -> Tensor:
    """Latents x̂_T [N, C, H, W] by DDIM inversion of images x_0."""

    def run(denoiser: Denoiser, x_0: Tensor, y: Tensor | None) -> Tensor:
        return ddim.last(ddim.inversion(denoiser, x_0, options.ddim_steps, options.clip_denoised, y))

    return _in_batches(denoisers, images, options, run)


def trajectory(denoisers: Sequence[Denoiser], noise: Tensor, options: Analyze) -> Tensor:
    """x_t [K, n, C, H, W] at K evenly spread points of the way from noise x_T [n, C, H, W] to the image."""
    kept = trajectory_steps(options.ddim_steps)

    def run(denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
        path = ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y)
        points = [x_T, *(x for i, x in enumerate(path, start=1) if i in kept)]
        return torch.stack(points, dim=1)

    return _in_batches(denoisers, noise, options, run).transpose(0, 1).contiguous()


def trajectory_steps(ddim_steps: int) -> list[int]:
    """After how many of the DDIM steps x_t is kept, from 0 (the noise) to all (the image)."""
    points = min(TRAJECTORY_POINTS, ddim_steps + 1)
    return [round(i * ddim_steps / (points - 1)) for i in range(points)]


def decoded(denoisers: Sequence[Denoiser], codes: Tensor, options: Analyze) -> Tensor:
    """The images uint8 [n, 3, H', W'] that a latent-diffusion model's decoder makes of codes [n, C, H, W]."""

    def run(denoiser: Denoiser, x_0: Tensor, y: Tensor | None) -> Tensor:
        assert denoiser.decode is not None, "a pixel model has nothing to decode"
        return torch.cat([denoiser.decode(one[None]) for one in x_0])  # one at a time: they are large

    return (_in_batches(denoisers, codes, options, run).clamp(-1, 1) * 127.5 + 127.5).round().byte()


def _in_batches(
    denoisers: Sequence[Denoiser],
    inputs: Tensor,
    options: Analyze,
    run: Callable[[Denoiser, Tensor, Tensor | None], Tensor],
) -> Tensor:
    """run(denoiser, batch, labels) of all batches, put together on the CPU.

    Raises UserError where numbers are not finite.
    """
    free: queue.SimpleQueue[Denoiser] = queue.SimpleQueue()
    for denoiser in denoisers:
        free.put(denoiser)
    size = options.batch_size or images_at_once(denoisers[0], len(inputs), len(denoisers))

    def made(start: int) -> Tensor:
        denoiser = free.get()
        try:
            batch = inputs[start : start + size].to(denoiser.device)
            return run(denoiser, batch, denoiser.labels(start, len(batch), options.labels)).float().cpu()
        finally:
            free.put(denoiser)

    outputs = torch.cat(_all(made, range(0, len(inputs), size), len(denoisers)))
    if not outputs.isfinite().all():
        raise UserError("the model puts out numbers that are not finite")
    return outputs


def _all(made: Callable[[int], Tensor], starts: Sequence[int], threads: int) -> list[Tensor]:
    """made(start) of all starts, in order, so many at a time."""
    if threads == 1:
        return [made(start) for start in starts]
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(made, starts))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C nothing new is begun
