"""Checkpoints → generations and measures, each made once and kept.

analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/
  analysis.yaml   generations/000002500/…   000002500.json (its measures)   000002500.failed.json
"""

import dataclasses
import functools
import hashlib
import json
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from omegaconf import OmegaConf
from torch import Tensor

from analyze.background import BackgroundWorker
from analyze.generations import ONLY_LAST, Tensors, devices
from analyze.measures import MEASURES, Measure
from analyze.measures.unavailable import Unavailable
from configs.checks import checkpoint_steps
from configs.errors import UserError, first_line
from configs.schema import Analyze, Experiment
from diffusion.denoiser import Denoiser
from models.compiled import allow_tf32, check_compiler, optimize_inference
from models.open import open_checkpoint_folder
from records.atomic import write_json, write_text
from records.layout import SeedFolder, data_folder, experiment_folder, saved_steps, seed_folder, step_name
from records.provenance import versions

T = TypeVar("T")

# Options of `analyze` that no generation depends on.
NOT_IN_GENERATIONS = ("batch_size", "compile", "pictures", "published", "measures")


def fingerprint(options: Analyze) -> str:
    """The name of a way of analysing: readable, and different whenever the generations would be."""
    shaping = {key: value for key, value in dataclasses.asdict(options).items() if key not in NOT_IN_GENERATIONS}
    precision = f"-{options.precision}"
    if options.precision == "fp32":  # was the only one once
        del shaping["precision"]
        precision = ""
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:8]
    clip = "noclip" if options.clip_denoised is False else "clip"
    return f"{options.weights}-T{options.ddim_steps}-N{options.samples}-{clip}{precision}-{digest}"


def other_fingerprints(experiment: Experiment) -> list[str]:
    """The ways in which an experiment was analysed, but for the one that it asks for."""
    ways = {way.parent.name for way in experiment_folder(experiment).glob("seed_*/analysis/*/analysis.yaml")}
    return sorted(ways - {fingerprint(experiment.analyze)})


def nothing_analysed(experiment: Experiment) -> str:
    """A sentence for where nothing was analysed in the way that an experiment asks for."""
    folder, others = experiment_folder(experiment), other_fingerprints(experiment)
    if not others:
        return f"{folder}: nothing is analysed yet; run python -m analyze first"
    return (
        f"{folder}: nothing is analysed as {fingerprint(experiment.analyze)}, but as {', '.join(others)}; "
        "give the options of analyze that it was analysed with"
    )


class Analysis:
    """One way of analysing some checkpoints: what is made and measured of each, and what is kept of it.

    What they are, where they are and where to keep it is for the two kinds below and in analyze.model to say.
    """

    options: Analyze
    folder: Path
    steps: Sequence[int]  # of the checkpoints that are there, ascending

    def tensors(self, step: int) -> Tensors:
        """Noise, samples, latents and so on of a checkpoint, made where they are not kept yet."""
        raise NotImplementedError

    def measured(self, step: int) -> list[Measure]:
        """What is measured of a checkpoint."""
        there = [one for one in MEASURES if step == self.last_step or not ONLY_LAST & set(one.inputs)]
        return [measure for measure in there if measure.is_on(self.options.measures)]

    @property
    def last_step(self) -> int:
        """The last checkpoint that is there: preliminary, while training has not got to its end."""
        return self.steps[-1]

    def results_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.json"

    def failure_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.failed.json"

    def missing(self) -> list[int]:
        """The checkpoints whose measures are not all there, the last one first since the others need it."""
        return [step for step in reversed(self.steps) if self._stale_measures(step)]

    def analyse(self, steps: Iterable[int], after_each: Callable[[], object] = lambda: None) -> None:
        """Generates and measures what is missing of some checkpoints; one that fails is noted and the others go on.

        On GPUs a checkpoint is measured while the next one is opened and generated. Raises UserError where networks
        should be compiled but cannot be.
        """
        if self.options.compile:
            check_compiler(devices()[0].type)
        write_text(self.folder / "analysis.yaml", OmegaConf.to_yaml(OmegaConf.structured(self.options)))
        with BackgroundWorker(devices()[0].type == "cuda" and self.options.precision != "tf32") as beside:
            for step in steps:
                if (generated := self._attempt(self._generated, step)) is not None:
                    beside(self._finish, step, generated, after_each)
                else:
                    after_each()

    def _attempt(self, work: Callable[..., T], step: int, *arguments: Any) -> T | None:
        """What some work on a checkpoint returns; None, with a note why, where it fails: the others may be sound."""
        try:
            return work(step, *arguments)
        except UserError as error:
            why = str(error)
        except Exception as error:
            traceback.print_exc()
            why = f"{type(error).__name__}: {first_line(error)}"
        write_json(self.failure_file(step), {"step": step, "why": why})
        return None

    def _finish(self, step: int, generated: dict[str, Tensor], after: Callable[[], object]) -> None:
        self._attempt(self._measure, step, generated)
        after()

    def _generated(self, step: int) -> dict[str, Tensor]:
        """The tensors that the stale measures of a checkpoint ask for, by name."""
        needed = {name for measure in self._stale_measures(step) for name in measure.inputs}
        here = self.tensors(step)
        if "last_samples" in needed:
            self._check_last(here)
        return {name: here[name] for name in sorted(needed)}

    def _measure(self, step: int, generated: dict[str, Tensor]) -> None:
        """Makes the stale measures of a checkpoint, on the device that it was generated on."""
        allow_tf32(False)  # a switch of the process: in TF32, nothing is generated beside this
        if stale := self._stale_measures(step):
            with _queue_of_its_own():
                tensors = {name: self._in_place(name, tensor) for name, tensor in generated.items()}
                found = {measure.name: self._measured(measure, tensors) for measure in stale}
            results = self.results(step) | found
            write_json(self.results_file(step), {"step": step, "measures": results, "versions": versions()})
        self.failure_file(step).unlink(missing_ok=True)

    def _in_place(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor where it is measured; training images are brought there a batch at a time by what needs them."""
        return tensor if name == "training_images" else tensor.to(devices()[0])

    def _check_last(self, here: Tensors) -> None:
        """Makes the last checkpoint's images first, so that nothing is made in vain where they cannot be had."""
        try:
            here["last_samples"]
        except UserError as error:
            about = "" if here.last is None else "the last checkpoint, which it is compared with, fails: "
            raise UserError(f"{about}{error}") from None

    def _measured(self, measure: Measure, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """A measure's values with what they depend on, or the reason why it cannot be computed here."""
        try:
            found: dict[str, Any] = {"values": measure.values(tensors, self.options.measures)}
        except Unavailable as reason:
            found = {"unavailable": str(reason)}
        return {**self._conditions(measure), **found}

    def _conditions(self, measure: Measure) -> dict[str, Any]:
        """All but the generations that a measure's numbers depend on; they are stale when it changes."""
        last = {"last_step": self.last_step} if measure.needs_last else {}
        return {"options": measure.options(self.options.measures), **last}

    def _stale_measures(self, step: int) -> list[Measure]:
        known = self.results(step)
        return [one for one in self.measured(step) if not self._is_fresh(one, known.get(one.name))]

    def _is_fresh(self, measure: Measure, result: dict[str, Any] | None) -> bool:
        return result is not None and result | self._conditions(measure) == result

    def results(self, step: int) -> dict[str, Any]:
        """What is known of a checkpoint: by measure its options, the last step where it matters, and its values."""
        try:
            return json.loads(self.results_file(step).read_text(encoding="utf-8"))["measures"]
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    def failures(self) -> dict[int, str]:
        """Why a checkpoint could not be analysed, by step."""
        files = [self.failure_file(step) for step in self.steps]
        notes = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        return {note["step"]: note["why"] for note in notes}


def _queue_of_its_own() -> AbstractContextManager:
    """A stream of the GPU for measures: who reads one of their numbers does not wait for what is being generated."""
    device = devices()[0]
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


@dataclass(frozen=True)
class SeedAnalysis(Analysis):
    """The analysis of the checkpoints of one seed of an experiment."""

    experiment: Experiment
    seed: int

    @property
    def options(self) -> Analyze:  # type: ignore[override]
        return self.experiment.analyze

    @property
    def run(self) -> SeedFolder:
        return seed_folder(self.experiment, self.seed)

    @property
    def folder(self) -> Path:  # type: ignore[override]
        return self.run.analysis(fingerprint(self.options))

    @functools.cached_property
    def steps(self) -> list[int]:  # type: ignore[override]
        """The checkpoints that are there and belong to the experiment, ascending."""
        planned = set(checkpoint_steps(self.experiment.train.checkpoints, self.experiment.train.steps))
        return [step for step in saved_steps(self.run.checkpoints) if step in planned]

    def tensors(self, step: int) -> Tensors:
        last = None if step == self.last_step else self.tensors(self.last_step)
        training = data_folder(self.experiment.data, self.experiment.model)
        return Tensors(self.folder / "generations", step, self.options, self._opener(step), training, last)

    def _opener(self, step: int) -> Callable[[torch.device], Denoiser]:
        def load_denoiser(device: torch.device) -> Denoiser:
            opened = open_checkpoint_folder(self.run.checkpoint(step), self.options.weights, device)
            return optimize_inference(opened, self.options.precision, self.options.compile)

        return load_denoiser
