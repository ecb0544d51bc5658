"""Batched sampling and inversion on one or several devices.

Several denoisers must be the same model on different devices; they share the batches.
"""

import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from analyze.batch_size import choose_batch_size
from configs.errors import UserError
from configs.schema import Analyze
from diffusion.denoiser import Denoiser
from diffusion.solvers.solver import Solver, final_state
from models.compiled import tf32

TRAJECTORY_POINTS = 25  # stored states x_t per trajectory, including the noise and the image
DECODED_AT_ONCE = 64
SELF_INTERPOLATION = tuple(i / 6 for i in range(7))  # λ between noise (0) and latent (1)


def sample(denoisers: Sequence[Denoiser], solver: Solver, noise: Tensor, options: Analyze, first: int = 0) -> Tensor:
    """Return the images x_0 [N, C, H, W] generated from noise x_T, with the class labels set in the options.

    Here and below, `first` is the number of the first image, which its label depends on.
    """
    return in_batches(denoisers, noise, options, lambda *batch: final_state(solver.sample(*batch)), first=first)


def invert(
    denoisers: Sequence[Denoiser],
    solver: Solver,
    images: Tensor,
    options: Analyze,
    may_diverge: bool = False,
    first: int = 0,
) -> Tensor:
    """Return the latents x̂_T [N, C, H, W] of images x_0; they are finite unless the solver `may_diverge`."""
    return in_batches(denoisers, images, options, lambda *batch: final_state(solver.invert(*batch)), may_diverge, first)


def trajectory(
    denoisers: Sequence[Denoiser], solver: Solver, noise: Tensor, options: Analyze, first: int = 0
) -> Tensor:
    """Return x_t [K, n, C, H, W] at K evenly spaced points of the trajectory from noise x_T [n, C, H, W] to x_0."""
    stored = trajectory_steps(options.ddim_steps)

    def run(denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
        states = enumerate(solver.sample(denoiser, x_T, y), start=1)
        return torch.stack([x_T, *(x_t for step, x_t in states if step in stored)], dim=1)

    return in_batches(denoisers, noise, options, run, first=first).transpose(0, 1).contiguous()


def trajectory_steps(ddim_steps: int) -> list[int]:
    """Return the numbers of completed steps at which x_t is stored, from 0 (the noise) to all (the image)."""
    points = min(TRAJECTORY_POINTS, ddim_steps + 1)
    return [round(i * ddim_steps / (points - 1)) for i in range(points)]


def self_interpolations(
    denoisers: Sequence[Denoiser], solver: Solver, noise: Tensor, latents: Tensor, options: Analyze
) -> Tensor:
    """Return the images [L, n, C, H, W] generated from points between noise x_T and latents x̂_T [n, C, H, W]."""
    points = slerp(noise, latents, SELF_INTERPOLATION)
    return torch.stack([sample(denoisers, solver, point, options) for point in points])


def slerp(start: Tensor, end: Tensor, lambdas: Sequence[float]) -> Tensor:
    """Return the points at λ from 0 to 1 on the arc from each start to its end [n, C, H, W], as [L, n, C, H, W].

    Unlike the points on the line between two independent noises, they are about as long as a noise. The weights
    sin((1−λ)θ)/sin θ and sin(λθ)/sin θ, with the angle θ, are those of the line if θ = 0. Source: Shoemake (1985),
    "Animating rotation with quaternion curves"; Song et al. (2021), DDIM, appendix D.5.
    """
    a, b = start.double().flatten(1), end.double().flatten(1)
    angle = torch.cosine_similarity(a, b).clamp(-1, 1).arccos()[:, None]

    def weight(share: float) -> Tensor:
        return share * torch.sinc(share * angle / torch.pi) / torch.sinc(angle / torch.pi)

    points = torch.stack([weight(1 - λ) * a + weight(λ) * b for λ in lambdas])
    return points.to(start.dtype).unflatten(2, start.shape[1:])


def decode(denoisers: Sequence[Denoiser], codes: Tensor, options: Analyze) -> Tensor:
    """Decode latent-diffusion codes [n, C, H, W] to images uint8 [n, 3, H', W']."""

    def run(denoiser: Denoiser, x_0: Tensor, y: Tensor | None) -> Tensor:
        assert denoiser.decode is not None, "a pixel-space model has no decoder"
        return torch.cat([denoiser.decode(code[None]) for code in x_0])  # one at a time, to bound the memory

    # In parts, because all images in float32 may exceed the memory.
    images = (in_batches(denoisers, part, options, run) for part in codes.split(DECODED_AT_ONCE))
    return torch.cat([(part.clamp(-1, 1) * 127.5 + 127.5).round().byte() for part in images])


def in_batches(
    denoisers: Sequence[Denoiser],
    inputs: Tensor,
    options: Analyze,
    run: Callable[[Denoiser, Tensor, Tensor | None], Tensor],
    may_diverge: bool = False,
    first: int = 0,
) -> Tensor:
    """Return run(denoiser, batch, labels) of all batches, concatenated on the CPU.

    Raises UserError if inputs do not fit the model, if a batch does not fit into the memory of its GPU, or if any value
    is not finite, unless `may_diverge` is set.
    """
    if inputs.shape[1:] != denoisers[0].shape:
        raise UserError(
            f"stored tensors of shape {list(inputs.shape[1:])} do not fit the model's {list(denoisers[0].shape)}; "
            "remove the folder generations of this analysis"
        )
    idle: queue.SimpleQueue[Denoiser] = queue.SimpleQueue()
    for denoiser in denoisers:
        idle.put(denoiser)
    size = batch_size(denoisers, len(inputs), options)

    def run_batch(start: int) -> Tensor:
        denoiser = idle.get()
        try:
            batch = inputs[start : start + size].to(denoiser.device)
            return run(denoiser, batch, denoiser.labels(first + start, len(batch), options.labels)).float().cpu()
        except torch.OutOfMemoryError:
            raise UserError(
                f"the memory of {denoiser.device} is too small for batches of {size} images; "
                f"set analyze.batch_size={max(1, size // 2)} or less"
            ) from None
        finally:
            idle.put(denoiser)

    with tf32(options.precision == "tf32"):
        outputs = torch.cat(_map_threads(run_batch, range(0, len(inputs), size), len(denoisers)))
    if not may_diverge and not outputs.isfinite().all():
        raise UserError("the model's outputs are not finite")
    return outputs


def batch_size(denoisers: Sequence[Denoiser], images: int, options: Analyze) -> int:
    return options.batch_size or choose_batch_size(denoisers[0], images, len(denoisers))


def _map_threads(run_batch: Callable[[int], Tensor], starts: Sequence[int], threads: int) -> list[Tensor]:
    """Return run_batch(start) of all starts, in order."""
    if threads == 1:
        return [run_batch(start) for start in starts]
    pool = ThreadPoolExecutor(threads)
    try:
        return list(pool.map(run_batch, starts))
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C, start no further batch
