"""Inversion from forward noise: error and distribution of the latents by the number of first steps replaced."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace

import torch
from torch import Tensor

from analyze.generations import Generations
from analyze.measures.exact_path import ExactStep, along_exact_path, sampler
from analyze.measures.normality import kl_to_normal
from analyze.measures.plain_areas import plain_areas
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.forward_start import ForwardStart, noise_of_images
from diffusion.solvers.solver import final_state

FRACTIONS = (0.02, 0.04, 0.1, 0.2, 0.4)  # of the steps
PUBLISHED = 0.04  # of the steps
BATCH_SIZE = 64  # all states of a batch are held


@dataclass(frozen=True)
class Errors:
    """Errors and distribution of the latents for one number of replaced steps, see `ForwardStartErrors`."""

    error: float | None
    exact_start: float | None
    reconstruction: float | None
    std_plain: float | None
    std_other: float | None
    kl: float


@dataclass(frozen=True)
class ForwardStartErrors(Errors):
    """Errors and distribution of latents if noise replaces the first k inversion steps, x = α·x_0 + σ·ξ.

    `error` is the mean ‖x_T − x̂_T‖; `exact_start` is the same if ξ is the noise of the exact state at the k-th
    timestep, so that only the other steps are naive, None if the sampler does not pass this level; `reconstruction` is
    the mean ‖x_0 − DDIM(x̂_T)‖; `std_…` is the standard deviation of the latents' values in plain and in other pixels,
    None if there are none; `kl` is the divergence of all values from N(0, 1) in nats, and `kl_floor` that of x_T.

    These numbers belong to the k nearest to PUBLISHED·T, at least 1. `by_steps` contains them for every `replaced` k,
    beginning with naive inversion at k = 0.
    """

    kl_floor: float
    by_steps: dict[str, list[int] | list[float | None]]


def forward_start(generations: Generations, *, forward_start_images: int, plain_threshold: float) -> ForwardStartErrors:
    """Replace the first k steps of naive inversion by noise, for several k.

    Source: the later versions of Staniszewski, Kuciński & Deja, "There and Back Again".
    """
    ddim = sampler(generations)
    counts = sorted({0, 1, *(round(fraction * ddim.steps) for fraction in FRACTIONS)})

    def run(path: Sequence[ExactStep]) -> Tensor:
        return torch.stack([path[0].x_s, path[-1].x_t, *_inversions(path, ddim, counts)], dim=1)

    images = along_exact_path(generations, forward_start_images, run, BATCH_SIZE)
    x_0, x_T, *inverted = images.unbind(dim=1)
    triples = zip(inverted[::3], inverted[1::3], inverted[2::3], strict=True)
    rows = [_errors(plain_threshold, x_0, x_T, *triple) for triple in triples]
    published = rows[counts.index(max(1, round(PUBLISHED * ddim.steps)))]
    by_steps = {field.name: [getattr(row, field.name) for row in rows] for field in fields(Errors)}
    return ForwardStartErrors(
        **asdict(published), kl_floor=kl_to_normal(x_T), by_steps={"replaced": counts, **by_steps}
    )


def _errors(
    plain_threshold: float, x_0: Tensor, x_T: Tensor, latents: Tensor, from_exact: Tensor, reconstructions: Tensor
) -> Errors:
    areas = plain_areas(x_T, x_0, latents, plain_threshold=plain_threshold)
    return Errors(
        error=_mean_norm(latents - x_T),
        exact_start=_mean_norm(from_exact - x_T),
        reconstruction=_mean_norm(reconstructions - x_0),
        std_plain=areas.std_plain,
        std_other=areas.std_other,
        kl=areas.kl,
    )


def _inversions(path: Sequence[ExactStep], ddim: Ddim, counts: Sequence[int]) -> list[Tensor]:
    """Return for each count the latents from forward noise and from the exact state, and the former's image."""
    equation, tensors = path[0].equation, list[Tensor]()
    denoiser, x_0, y = equation.denoiser, equation.x_0, equation.y
    for replaced in counts:
        solvers = _from_noises(path, ddim, replaced) if replaced else [ddim, ddim]
        latents, from_exact = (final_state(solver.invert(denoiser, x_0, y)) for solver in solvers)
        tensors += [latents, from_exact, final_state(ddim.sample(denoiser, latents, y))]
    return tensors


def _from_noises(path: Sequence[ExactStep], ddim: Ddim, replaced: int) -> list[ForwardStart]:
    """Return the inverters that start from forward noise, and from the noise of the exact state at the same level.

    Forward noise is addressed by the bits of x_T: those of x_0 may depend on the batch size.
    """
    x_0, forward = path[0].x_s, noise_of_images(path[-1].x_t, seed=0)
    start = ddim.spacing.inversion(path[0].equation.denoiser.levels, ddim.steps)[replaced].start
    unknown = torch.full_like(x_0, torch.nan)  # if a spacing inverts between other levels than it samples
    state = next((exact.x_t for exact in path if exact.equation.step.end == start), unknown)
    exact = (state - start.alpha * x_0) / start.sigma
    inverter = ForwardStart(ddim.steps, ddim.spacing, ddim.clip, replaced)
    return [replace(inverter, draw_noise=lambda images: forward), replace(inverter, draw_noise=lambda images: exact)]


def _mean_norm(images: Tensor) -> float | None:
    mean = images.flatten(1).norm(dim=1).mean()
    return mean.item() if mean.isfinite() else None
