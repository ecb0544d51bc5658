"""Comparison of inverters: the error of the recovered noise by the number of network evaluations.

generations/000000020/inverters/fixed-point-R2-T20-N64.json (statistics)   ….safetensors (latents)
"""

import dataclasses
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from analyze.generate import invert, sample
from analyze.generations import Generations
from analyze.measures.correlation import noise_floor, top_correlation
from analyze.measures.triangle import triangle
from analyze.model import check_model, denoiser_loader, exclusive, model_analysis
from configs.errors import UserError
from configs.schema import ModelStudy
from diffusion.solvers import INVERTERS
from diffusion.solvers.solver import Solver
from models.source import check_ddim_steps, open_source
from records.atomic import atomic_file, write_json
from records.layout import step_name
from records.progress import progress
from records.provenance import versions

DEFAULT_NFE = (1, 2, 3, 5, 10)  # multiples of T


@dataclass(frozen=True)
class Candidate:
    """An inverter with its rounds per step."""

    name: str
    rounds: int
    solver: Solver

    @property
    def label(self) -> str:
        return f"{self.name}, K = {self.rounds}" if self.rounds else self.name


@dataclass(frozen=True)
class InverterResult:
    """Statistics over images of errors (L2 norms): of the noise, ‖x_T − x̂_T‖, and of reconstruction, ‖x_0 − DDIM(x̂_T)‖.

    `diverged` is the fraction of images whose error exceeds ‖x_T‖, `latent_angle` the angle at x̂_T of the triangle with
    x_T and x_0 in degrees, and `correlation` the mean of the ten largest |correlations| of pixels of the latents, next
    to that of as much Gaussian noise.
    """

    label: str
    evaluations: float
    error_mean: float
    error_median: float
    error_p95: float
    diverged: float
    reconstruction_mean: float
    reconstruction_median: float
    latent_angle: float
    correlation: float
    correlation_floor: float
    seconds_per_image: float


def compare_inverters(study: ModelStudy) -> dict[Path, InverterResult]:
    """Invert a model's DDIM images with every requested inverter and budget; stored results are reused.

    Results are ordered by evaluations and error, and identified by their file. Raises UserError if the model cannot be
    opened, an inverter is unknown, or the model does not support the number of DDIM steps.
    """
    source, calls = open_source(study), list[int]()  # the batch size of each network call
    check_ddim_steps(source, study.analyze.ddim_steps)
    load_denoiser = denoiser_loader(study, source, calls.append)
    analysis = model_analysis(study, source, load_denoiser, study.analyze.ddim_steps)
    generations = analysis.generations(analysis.last_step)
    files = {_file(generations, candidate): candidate for candidate in _candidates(generations)}
    with exclusive(study):
        check_model(study, source)
        missing = {file: candidate for file, candidate in files.items() if not file.exists()}
        with progress("comparing", len(missing), "inverter", shown=bool(missing)) as bar:
            for file, candidate in missing.items():
                bar.set_description_str(candidate.label)
                _evaluate(generations, candidate, file, calls)
                bar.update()
    results = {file: InverterResult(**json.loads(file.read_text(encoding="utf-8"))["values"]) for file in files}
    return dict(sorted(results.items(), key=lambda item: (item[1].evaluations, item[1].error_mean)))


def _candidates(generations: Generations) -> Iterator[Candidate]:
    """Yield every inverter with the largest number of rounds that each budget allows."""
    options = generations.options
    if unknown := [name for name in options.inverters if name not in INVERTERS]:
        raise UserError(f'analyze.inverters: there is no inverter "{unknown[0]}"; available are {", ".join(INVERTERS)}')
    budgets = options.nfe or [multiple * options.ddim_steps for multiple in DEFAULT_NFE]
    for name in options.inverters or INVERTERS:
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


def _file(generations: Generations, candidate: Candidate) -> Path:
    options = generations.options
    name = re.sub(r"\W+", "-", candidate.name).strip("-").lower()
    key = f"{name}-R{candidate.rounds}-T{options.ddim_steps}-N{min(options.inverter_images, options.samples)}"
    return generations.folder / step_name(generations.setting.position) / "inverters" / f"{key}.json"


def _evaluate(generations: Generations, candidate: Candidate, file: Path, calls: list[int]) -> None:
    """Invert the images with one inverter, and store its statistics and latents."""
    options, denoisers = generations.options, generations.denoisers
    x_0 = generations["samples"][: options.inverter_images].clone()
    x_T = generations["noise"][: options.inverter_images]
    calls.clear()
    started_s = time.monotonic()
    latents = invert(denoisers, candidate.solver, x_0, options, may_diverge=True)
    seconds, evaluations = (time.monotonic() - started_s) / len(x_0), sum(calls) / len(x_0)
    is_finite = latents.flatten(1).isfinite().all(dim=1)
    latents[~is_finite] = torch.nan
    reconstructions = latents.clone()
    if is_finite.any():
        reconstructions[is_finite] = sample(denoisers, generations.sampler, latents[is_finite], options)
    values = summarize(candidate.label, x_T, x_0, latents, reconstructions, evaluations, seconds)
    with atomic_file(file.with_suffix(".safetensors")) as partial:
        partial.write_bytes(serialize({"latents": latents}))
    write_json(file, {"values": dataclasses.asdict(values), "versions": versions()})


def summarize(
    label: str,
    x_T: Tensor,
    x_0: Tensor,
    latents: Tensor,
    reconstructions: Tensor,
    evaluations: float,
    seconds: float,
) -> InverterResult:
    """Return the statistics of latents x̂_T and reconstructions DDIM(x̂_T), all [N, C, H, W].

    Latents that are not finite have infinite errors, and are left out of the angle and the correlation.
    """
    differences = (latents - x_T, x_T, reconstructions - x_0)
    error, size, reconstruction = (x.double().flatten(1).norm(dim=1).nan_to_num(torch.inf) for x in differences)
    is_finite = error.isfinite()
    floor, _ = noise_floor(len(x_T), tuple(x_T.shape[1:]), x_T.device)
    angle = torch.nan
    if is_finite.any():
        angle = triangle(x_T[is_finite], x_0[is_finite], latents[is_finite]).latent_of_mean
    return InverterResult(
        label=label,
        evaluations=evaluations,
        error_mean=error.mean().item(),
        error_median=error.quantile(0.5, interpolation="nearest").item(),
        error_p95=error.quantile(0.95, interpolation="nearest").item(),
        diverged=(error > size).double().mean().item(),
        reconstruction_mean=reconstruction.mean().item(),
        reconstruction_median=reconstruction.quantile(0.5, interpolation="nearest").item(),
        latent_angle=angle,
        correlation=top_correlation(latents[is_finite]).mean if is_finite.sum() > 2 else torch.nan,
        correlation_floor=floor.mean,
        seconds_per_image=seconds,
    )


def to_markdown(results: Sequence[InverterResult]) -> str:
    """Return the results as a Markdown table, one row per inverter and budget."""
    columns = [field.name for field in dataclasses.fields(InverterResult)]
    rows = [" | ".join([result.label, *(f"{getattr(result, name):.3g}" for name in columns[1:])]) for result in results]
    header = " | ".join(name.replace("_", " ") for name in columns)
    return "\n".join([f"| {header} |", "|---|" + "--:|" * (len(columns) - 1), *(f"| {row} |" for row in rows), ""])
