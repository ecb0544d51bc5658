"""Comparison of inverters: the error of the recovered noise by the number of network evaluations.

generations/unclipped/000000020/
  samples.safetensors   inverters/fixed-point-K2-N64.json (statistics)   inverters/….safetensors (latents)
"""

import contextlib
import dataclasses
import functools
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as serialize
from torch import Tensor

from analyze.generate import in_batches, invert
from analyze.generations import Generations, read_tensor
from analyze.measures.recovery import Latents, Recovery, describe_latents, recovery
from configs.errors import UserError, first_line
from diffusion.denoiser import Denoiser
from diffusion.solvers import INVERTERS
from diffusion.solvers.coupled import CoupledSolver, last_states
from diffusion.solvers.ddim import DdimSampler
from diffusion.solvers.solver import Solver, final_state
from models.source import add_call_hook
from records.atomic import write_bytes
from records.layout import step_name
from records.progress import progress
from records.provenance import versions
from records.sealed import is_number, read_sealed, write_sealed

DEFAULT_NFE = (1, 2, 3, 5, 10)  # multiples of T
# 1 did not store the options of the methods, 2 inverted training images with the classes of other images, 3 inverted
# some methods' own images inexactly where sampling ends at a noisy level or has unequal steps.
VERSION = 4


@dataclass(frozen=True)
class Variant:
    """A method with its rounds per step (0 if it has none), and the origin of the images that it inverts.

    Images are DDIM's, or the method's own if it has a sampler; "own + state" keeps the auxiliary state of sampling.
    """

    method: str
    rounds: int
    images: str

    @property
    def name(self) -> str:
        """Method and origin of the images."""
        return self.method if self.images == "DDIM" else f"{self.method}, {self.images}"

    @property
    def label(self) -> str:
        return f"{self.name}, K = {self.rounds}" if self.rounds else self.name

    @property
    def key(self) -> str:
        """Name in files and metrics, for example "fixed-point-K2"."""
        name = re.sub(r"\W+", "-", self.name).strip("-").lower()
        return f"{name}-K{self.rounds}" if self.rounds else name


@dataclass(frozen=True)
class Candidate(Variant):
    """A variant to compare, with its solver."""

    solver: Solver


@dataclass(frozen=True)
class InverterResult(Variant):
    """Statistics of a variant; of training images only the latents are known, because they have no x_T."""

    evaluations: float  # per image
    seconds: float  # per image
    recovery: Recovery
    latents: Latents
    data: Latents | None = None

    @classmethod
    def from_json(cls, values: Any) -> "InverterResult":
        """Return a stored result. Raises ValueError if the values are not those of a result."""
        try:
            recovered, latents = Recovery(**values["recovery"]), Latents(**values["latents"])
            data = Latents(**values["data"]) if values["data"] else None
            result = cls(**{**values, "recovery": recovered, "latents": latents, "data": data})
        except (TypeError, LookupError) as error:
            raise ValueError(f"not the result of an inverter: {first_line(error)}") from None
        numbers = [result.rounds, result.evaluations, result.seconds, *dataclasses.astuple(recovered)]
        numbers += [value for part in (latents, data) if part for value in dataclasses.astuple(part)]
        names = (result.method, result.images)
        are_numbers = isinstance(result.rounds, int) and all(map(is_number, numbers))
        if not (are_numbers and all(isinstance(name, str) for name in names)):
            raise ValueError("not the result of an inverter: a number or a name has another type")
        return result


def inverters(
    generations: Generations, *, inverters: list[str], inverter_nfe: list[int], inverter_images: int
) -> dict[str, Any]:
    """Invert DDIM's images, and training images if available, with every inverter and budget.

    x_0 is clipped in neither direction: the last sampling step would replace all x_0 beyond [−1, 1] by the same values,
    whose noise no method can recover. Returns the mean error ‖x_T − x̂_T‖ of each inverter by its key, and all
    statistics as "results", of these and of earlier comparisons of the same images. Latents and statistics are stored
    per inverter and reused. Raises UserError if an inverter is unknown.
    """
    generations = generations.unclipped(inverter_images)
    candidates = list(candidates_for(generations, inverters, inverter_nfe))
    files = {candidate.key: result_file(generations, candidate.key, inverter_images) for candidate in candidates}
    data = _data_images(generations, inverter_images)
    missing = [each for each in candidates if not _is_complete(_read(files[each.key]), each, data)]
    if missing:
        _warm_up(generations, inverter_images)
    with progress("comparing inverters", len(missing), "inverter", shown=bool(missing)) as bar:
        for candidate in missing:
            bar.set_postfix_str(candidate.label)
            _evaluate(generations, candidate, files[candidate.key], inverter_images, data)
            bar.update()
    results = _stored_results(generations, inverter_images)
    errors = {key: result["recovery"]["error_mean"] for key, result in results.items()}
    return {**errors, "results": results}


def _warm_up(generations: Generations, count: int) -> None:
    """Evaluate the network once, so that the time of no inverter includes its compilation."""

    @torch.no_grad()
    def evaluate(denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
        return denoiser.output(x_T, 0, y)

    in_batches(generations.denoisers, generations["noise"][:count], generations.options, evaluate, may_diverge=True)


def check_names(names: Sequence[str]) -> None:
    """Raise UserError if an inverter does not exist."""
    if unknown := [name for name in names if name not in INVERTERS]:
        available = ", ".join(INVERTERS)
        raise UserError(f'analyze.measures.inverters: there is no inverter "{unknown[0]}"; available are {available}')


def candidates_for(generations: Generations, names: Sequence[str], budgets: Sequence[int]) -> Iterator[Candidate]:
    """Yield every inverter with the largest number of rounds that each budget of evaluations allows."""
    check_names(names)
    if singular := [name for name in names if not _applies(name, generations)]:
        raise UserError(
            f'analyze.measures.inverters: "{singular[0]}" divides by the signal level, which is 0 at the start'
        )
    per_call = generations.denoisers[0].evaluations_per_call
    budgets = budgets or [multiple * generations.options.ddim_steps * per_call for multiple in DEFAULT_NFE]
    for name in names or [name for name in INVERTERS if _applies(name, generations)]:
        inverter = INVERTERS[name]
        solvers = {
            rounds: _solver(generations, name, rounds)
            for rounds in range(min(1, inverter.max_rounds), inverter.max_rounds + 1)
        }
        affordable = [
            [rounds for rounds, solver in solvers.items() if solver.inversion_evaluations * per_call <= budget]
            for budget in budgets
        ]
        chosen = {inverter.max_rounds} if inverter.is_adaptive else {max(rounds) for rounds in affordable if rounds}
        for rounds in sorted(chosen):
            yield from (Candidate(name, rounds, images, solvers[rounds]) for images in origins(solvers[rounds]))


def _solver(generations: Generations, name: str, rounds: int) -> Solver:
    options = generations.options
    return INVERTERS[name].build(
        rounds, steps=options.ddim_steps, spacing=generations.spacing, clip=options.clip_denoised
    )


def solver_options(solver: Solver) -> dict[str, Any]:
    """Return the numbers and words that define a method; a stored result is stale if they have changed."""
    fields = {field.name: getattr(solver, field.name) for field in dataclasses.fields(solver)}  # type: ignore[arg-type]
    return {name: value for name, value in fields.items() if isinstance(value, (int, float, str))}


def _is_of(stored: dict[str, Any], solver: Solver) -> bool:
    """Return whether a stored result is that of a method with the current options, by the current definition."""
    return stored.get("solver") == solver_options(solver) and stored.get("version") == VERSION


def _is_complete(stored: dict[str, Any], candidate: Candidate, training_images: Tensor | None) -> bool:
    """Return whether a stored result is current, and includes the training images if there are any by now."""
    has_data = training_images is None or candidate.images != "DDIM" or stored.get("values", {}).get("data") is not None
    return has_data and _is_of(stored, candidate.solver)


def _read(file: Path) -> dict[str, Any]:
    """Return a stored result; without entries if the file is missing or damaged."""
    try:
        stored = read_sealed(file)
    except (OSError, ValueError):
        return {}
    return stored if isinstance(stored, dict) else {}


def _applies(name: str, generations: Generations) -> bool:
    """Return whether an inverter is defined at the level that sampling starts from."""
    return not (INVERTERS[name].divides_by_signal and generations.spacing.starts_from_pure_noise)


def origins(solver: Solver) -> list[str]:
    """Return the origins of images that a solver is compared on: DDIM, and its own sampler if it is another."""
    if isinstance(solver, DdimSampler):
        return ["DDIM"]
    return ["DDIM", "own", "own + state"] if isinstance(solver, CoupledSolver) else ["DDIM", "own"]


def _stored_results(generations: Generations, images: int) -> dict[str, Any]:
    """Return the statistics of all inverters that were compared on the same images and have not changed, by key."""
    results: dict[str, Any] = {}
    suffix = result_file(generations, "", images)
    for file in sorted(suffix.parent.glob(f"*{suffix.name}")):
        stored = _read(file)
        with contextlib.suppress(ValueError):
            result = InverterResult.from_json(stored.get("values"))
            if result.method in INVERTERS and _is_of(stored, _solver(generations, result.method, result.rounds)):
                results[file.name.removesuffix(suffix.name)] = stored["values"]
    return results


def result_file(generations: Generations, key: str, images: int) -> Path:
    """Return the file of an inverter's statistics; its latents are next to it, see `stored_latents`."""
    count = min(images, generations.options.samples)
    return generations.folder / step_name(generations.setting.position) / "inverters" / f"{key}-N{count}.json"


def stored_latents(generations: Generations, key: str, images: int) -> Tensor | None:
    """Return an inverter's latents [n, C, H, W], or None if they were deleted or are damaged."""
    return read_tensor(result_file(generations, key, images).with_suffix(".safetensors"), "latents")


def _evaluate(
    generations: Generations, candidate: Candidate, file: Path, count: int, training_images: Tensor | None
) -> None:
    """Invert `count` images with one candidate, and store its statistics and latents."""
    sampler = generations.sampler if candidate.images == "DDIM" else candidate.solver
    x_T = generations["noise"][:count]
    x_0 = generations["samples"][:count].clone() if candidate.images == "DDIM" else _sample(generations, sampler, x_T)
    started_s = time.monotonic()
    latents, evaluations = _invert(generations, candidate, x_T, x_0)
    seconds = (time.monotonic() - started_s) / len(x_0)
    data = training_images if candidate.images == "DDIM" else None
    result = InverterResult(
        method=candidate.method,
        rounds=candidate.rounds,
        images=candidate.images,
        evaluations=evaluations,
        seconds=seconds,
        recovery=recovery(x_T, x_0, latents),
        latents=_describe(generations, sampler, x_0, latents),
        data=None if data is None else _invert_data(generations, candidate, data),
    )
    write_bytes(file.with_suffix(".safetensors"), serialize({"latents": latents}))
    values = dataclasses.asdict(result)
    options = solver_options(candidate.solver)
    write_sealed(file, {"values": values, "version": VERSION, "solver": options, "versions": versions()})


def _sample(generations: Generations, sampler: Solver, x_T: Tensor) -> Tensor:
    """Return images [n, C, H, W], which may not be finite; reversible samplers can diverge."""
    run = functools.partial(_last_sampled, sampler)
    return in_batches(generations.denoisers, x_T, generations.options, run, may_diverge=True)


def _last_sampled(sampler: Solver, denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
    return final_state(sampler.sample(denoiser, x_T, y))


def _invert(generations: Generations, candidate: Candidate, x_T: Tensor, x_0: Tensor) -> tuple[Tensor, float]:
    """Return the latents [n, C, H, W], and the network evaluations per image that the inversion took."""
    calls: list[int] = []  # the evaluations of each network call
    if candidate.images == "own + state" and isinstance(candidate.solver, CoupledSolver):
        run = functools.partial(_sample_and_invert, candidate.solver, calls)
        latents = in_batches(generations.denoisers, x_T, generations.options, run, may_diverge=True)
    else:
        denoisers = [add_call_hook(denoiser, calls.append) for denoiser in generations.denoisers]
        latents = invert(denoisers, candidate.solver, x_0, generations.options, may_diverge=True)
    return latents, sum(calls) / len(x_0)


def _sample_and_invert(
    solver: CoupledSolver, calls: list[int], denoiser: Denoiser, x_T: Tensor, y: Tensor | None
) -> Tensor:
    """Return the latents; the evaluations of the inversion are added to `calls`."""
    x_0, auxiliary = last_states(solver.sample_coupled(denoiser, x_T, y))
    return last_states(solver.invert_coupled(add_call_hook(denoiser, calls.append), x_0, auxiliary, y))[0]


def _data_images(generations: Generations, count: int) -> Tensor | None:
    """Return evenly spaced training images [n, C, H, W] in [−1, 1], or None if there are none of the model's kind.

    A conditional model would invert them with the classes of other images.
    """
    images = generations["training_images"]
    if generations.are_codes or generations.denoisers[0].num_classes or len(images) < count:
        return None
    indices = torch.linspace(0, len(images) - 1, count).round().long()
    return images[indices].float() / 127.5 - 1


def _invert_data(generations: Generations, candidate: Candidate, data: Tensor) -> Latents:
    latents = invert(generations.denoisers, candidate.solver, data, generations.options, may_diverge=True)
    return _describe(generations, generations.sampler, data, latents)


def _describe(generations: Generations, sampler: Solver, x_0: Tensor, latents: Tensor) -> Latents:
    """Sample from the latents and summarize; those that are not finite count as lost."""
    is_finite = latents.flatten(1).isfinite().all(dim=1)
    reconstructions = _sample(generations, sampler, latents.nan_to_num(0, 0, 0))  # all, so that each keeps its class
    reconstructions[~is_finite] = torch.nan
    return describe_latents(x_0, latents, reconstructions)
