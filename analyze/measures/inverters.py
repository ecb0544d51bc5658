"""Comparison of inverters: the error of the recovered noise by the number of network evaluations.

generations/000000020/inverters/fixed-point-K2-N64.json (statistics)   ….safetensors (latents)
"""

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from analyze.generate import invert, sample
from analyze.generations import Generations
from analyze.measures.correlation import noise_floor, top_correlation
from analyze.measures.distances import distances
from analyze.measures.normality import kl_to_normal
from analyze.measures.triangle import triangle
from configs.errors import UserError
from diffusion.solvers import INVERTERS
from diffusion.solvers.solver import Solver
from models.source import add_call_hook
from records.atomic import atomic_file, write_json
from records.layout import step_name
from records.progress import progress
from records.provenance import versions

DEFAULT_NFE = (1, 2, 3, 5, 10)  # multiples of T


@dataclass(frozen=True)
class Variant:
    """An inverter with its rounds per step; 0 if it has none."""

    method: str
    rounds: int

    @property
    def label(self) -> str:
        return f"{self.method}, K = {self.rounds}" if self.rounds else self.method

    @property
    def key(self) -> str:
        """Name in files and metrics, for example "fixed-point-K2"."""
        name = re.sub(r"\W+", "-", self.method).strip("-").lower()
        return f"{name}-K{self.rounds}" if self.rounds else name


@dataclass(frozen=True)
class Candidate(Variant):
    """A variant to compare, with its solver."""

    solver: Solver


@dataclass(frozen=True)
class Recovery:
    """Errors of x̂_T for DDIM's own images (L2 norms), and the geometry of x_T, x_0 and x̂_T.

    `diverged` is the fraction of images whose error exceeds ‖x_T‖, `latent_angle` the angle at x̂_T in degrees, and
    `image_latent` the mean distance ‖x_0 − x̂_T‖.
    """

    error_mean: float
    error_median: float
    error_p95: float
    diverged: float
    latent_angle: float
    image_latent: float


@dataclass(frozen=True)
class Latents:
    """Reconstruction error ‖x_0 − DDIM(x̂_T)‖, and the distribution of the latents' values.

    `kl` is the divergence from N(0, 1) in nats, `correlation` the mean of the ten largest |correlations| of pixels.
    Both are followed by the value of as much Gaussian noise.
    """

    reconstruction_mean: float
    reconstruction_median: float
    latent_mean: float
    latent_std: float
    kl: float
    kl_floor: float
    correlation: float
    correlation_floor: float


@dataclass(frozen=True)
class InverterResult(Variant):
    """Statistics of a variant; of training images only the latents are known, because they have no x_T."""

    evaluations: float  # per image
    seconds: float  # per image
    recovery: Recovery
    latents: Latents
    data: Latents | None = None

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "InverterResult":
        data = Latents(**values["data"]) if values["data"] else None
        parts = {"recovery": Recovery(**values["recovery"]), "latents": Latents(**values["latents"]), "data": data}
        return cls(**{**values, **parts})


def inverters(
    generations: Generations, *, inverters: list[str], inverter_nfe: list[int], inverter_images: int
) -> dict[str, Any]:
    """Invert DDIM's images, and training images if available, with every inverter and budget.

    Returns the mean error ‖x_T − x̂_T‖ of each inverter by its key, and all statistics as "results". Latents and
    statistics are stored per inverter and reused. Raises UserError if an inverter is unknown.
    """
    candidates = list(candidates_for(generations, inverters, inverter_nfe))
    files = {candidate.key: result_file(generations, candidate.key, inverter_images) for candidate in candidates}
    missing = [candidate for candidate in candidates if not files[candidate.key].exists()]
    with progress("comparing inverters", len(missing), "inverter", shown=bool(missing)) as bar:
        for candidate in missing:
            bar.set_postfix_str(candidate.label)
            _evaluate(generations, candidate, files[candidate.key], inverter_images)
            bar.update()
    results = {key: json.loads(file.read_text(encoding="utf-8"))["values"] for key, file in files.items()}
    errors = {key: result["recovery"]["error_mean"] for key, result in results.items()}
    return {**errors, "results": results}


def candidates_for(generations: Generations, names: Sequence[str], budgets: Sequence[int]) -> Iterator[Candidate]:
    """Yield every inverter with the largest number of rounds that each budget allows."""
    if unknown := [name for name in names if name not in INVERTERS]:
        available = ", ".join(INVERTERS)
        raise UserError(f'analyze.measures.inverters: there is no inverter "{unknown[0]}"; available are {available}')
    options = generations.options
    budgets = budgets or [multiple * options.ddim_steps for multiple in DEFAULT_NFE]
    for name in names or INVERTERS:
        inverter = INVERTERS[name]
        solvers = {
            rounds: inverter.build(
                rounds, steps=options.ddim_steps, spacing=generations.spacing, clip=options.clip_denoised
            )
            for rounds in range(min(1, inverter.max_rounds), inverter.max_rounds + 1)
        }
        affordable = [
            [rounds for rounds, solver in solvers.items() if solver.inversion_evaluations <= budget]
            for budget in budgets
        ]
        chosen = {inverter.max_rounds} if inverter.is_adaptive else {max(rounds) for rounds in affordable if rounds}
        yield from (Candidate(name, rounds, solvers[rounds]) for rounds in sorted(chosen))


def result_file(generations: Generations, key: str, images: int) -> Path:
    """Return the file of an inverter's statistics; its latents are next to it."""
    count = min(images, generations.options.samples)
    return generations.folder / step_name(generations.setting.position) / "inverters" / f"{key}-N{count}.json"


def _evaluate(generations: Generations, candidate: Candidate, file: Path, count: int) -> None:
    """Invert `count` images with one inverter, and store its statistics and latents."""
    x_0, x_T = generations["samples"][:count].clone(), generations["noise"][:count]
    calls: list[int] = []  # the batch size of each network call
    denoisers = [add_call_hook(denoiser, calls.append) for denoiser in generations.denoisers]
    started_s = time.monotonic()
    latents = invert(denoisers, candidate.solver, x_0, generations.options, may_diverge=True)
    seconds, evaluations = (time.monotonic() - started_s) / len(x_0), sum(calls) / len(x_0)
    data = _data_images(generations, count)
    result = InverterResult(
        method=candidate.method,
        rounds=candidate.rounds,
        evaluations=evaluations,
        seconds=seconds,
        recovery=recovery(x_T, x_0, latents),
        latents=_describe(generations, x_0, latents),
        data=None if data is None else _invert_data(generations, candidate, data),
    )
    with atomic_file(file.with_suffix(".safetensors")) as partial:
        partial.write_bytes(serialize({"latents": latents}))
    write_json(file, {"values": dataclasses.asdict(result), "versions": versions()})


def _data_images(generations: Generations, count: int) -> Tensor | None:
    """Return evenly spaced training images [n, C, H, W] in [−1, 1], or None if there are none of the model's kind."""
    images = generations["training_images"]
    if generations.are_codes or len(images) < count:
        return None
    indices = torch.linspace(0, len(images) - 1, count).round().long()
    return images[indices].float() / 127.5 - 1


def _invert_data(generations: Generations, candidate: Candidate, data: Tensor) -> Latents:
    latents = invert(generations.denoisers, candidate.solver, data, generations.options, may_diverge=True)
    return _describe(generations, data, latents)


def _describe(generations: Generations, x_0: Tensor, latents: Tensor) -> Latents:
    """Sample from the latents and summarize; those that are not finite count as lost."""
    is_finite = latents.flatten(1).isfinite().all(dim=1)
    reconstructions = torch.full_like(latents, torch.nan)
    if is_finite.any():
        finite = latents[is_finite]
        reconstructions[is_finite] = sample(generations.denoisers, generations.sampler, finite, generations.options)
    return describe_latents(x_0, latents, reconstructions)


def recovery(x_T: Tensor, x_0: Tensor, latents: Tensor) -> Recovery:
    """Compare latents x̂_T with the noise x_T, all tensors [N, C, H, W].

    A latent that is not finite has an infinite error and is left out of the geometry.
    """
    error, size = _norms(latents - x_T), _norms(x_T)
    is_finite = latents.flatten(1).isfinite().all(dim=1)
    corners = [tensor[is_finite] for tensor in (x_T, x_0, latents)]
    return Recovery(
        error_mean=error.mean().item(),
        error_median=_quantile(error, 0.5),
        error_p95=_quantile(error, 0.95),
        diverged=(error > size).double().mean().item(),
        latent_angle=triangle(*corners).latent_of_mean if is_finite.any() else torch.nan,
        image_latent=distances(*corners).image_latent if is_finite.any() else torch.nan,
    )


def describe_latents(x_0: Tensor, latents: Tensor, reconstructions: Tensor) -> Latents:
    """Return reconstruction errors and the distribution of latents x̂_T, all tensors [N, C, H, W]."""
    error = _norms(reconstructions - x_0)
    finite = latents[latents.flatten(1).isfinite().all(dim=1)]
    floor, _ = noise_floor(len(x_0), tuple(x_0.shape[1:]), x_0.device)
    return Latents(
        reconstruction_mean=error.mean().item(),
        reconstruction_median=_quantile(error, 0.5),
        latent_mean=finite.mean().item(),
        latent_std=finite.std().item(),
        kl=kl_to_normal(finite) if len(finite) else torch.nan,
        kl_floor=kl_to_normal(torch.randn(x_0.shape, generator=torch.Generator().manual_seed(0))),
        correlation=top_correlation(finite).mean if len(finite) > 2 else torch.nan,
        correlation_floor=floor.mean,
    )


def _norms(differences: Tensor) -> Tensor:
    """Return the L2 norm per image, infinite if it is not a number."""
    return differences.double().flatten(1).norm(dim=1).nan_to_num(torch.inf)


def _quantile(values: Tensor, q: float) -> float:
    return values.quantile(q, interpolation="nearest").item()
