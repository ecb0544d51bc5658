"""Every checkpoint of one seed → generations and measures, each made once and kept.

analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/
  analysis.yaml   generations/000002500.safetensors   000002500.json (its measures)   000002500.failed.json
"""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from analyze import generate
from analyze.generate import Generations
from analyze.measures import MEASURES, Measure
from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.schema import Analyze, Experiment
from diffusion.open import open_checkpoint
from records import checkpoint
from records.durable import write_json, write_text
from records.layout import SeedFolder, saved_steps, seed_folder, step_name
from records.provenance import versions

NOT_IN_NUMBERS = ("batch_size", "pictures", "measures")  # options of `analyze` that no generation depends on


def fingerprint(options: Analyze) -> str:
    """The name of a way of analysing: readable, and different whenever the generations would be."""
    shaping = {key: value for key, value in dataclasses.asdict(options).items() if key not in NOT_IN_NUMBERS}
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:8]
    clip = "clip" if options.clip_denoised else "noclip"
    return f"{options.weights}-T{options.ddim_steps}-N{options.samples}-{clip}-{digest}"


@dataclass(frozen=True)
class SeedAnalysis:
    """One way of analysing the checkpoints of one seed."""

    experiment: Experiment
    seed: int

    @property
    def options(self) -> Analyze:
        return self.experiment.analyze

    @property
    def run(self) -> SeedFolder:
        return seed_folder(self.experiment, self.seed)

    @property
    def folder(self) -> Path:
        return self.run.analysis(fingerprint(self.options))

    def results_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.json"

    def failure_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.failed.json"

    def generations_file(self, step: int) -> Path:
        return self.folder / "generations" / f"{step_name(step)}.safetensors"

    @functools.cached_property
    def steps(self) -> list[int]:
        """The checkpoints that are there and belong to the experiment, ascending."""
        planned = set(checkpoint_steps(self.experiment.train.checkpoints, self.experiment.train.steps))
        return [step for step in saved_steps(self.run.checkpoints) if step in planned]

    @property
    def last_step(self) -> int:
        return self.steps[-1]

    def missing(self) -> list[int]:
        """The checkpoints whose measures are not all there, the last one first since the others need it."""
        return [step for step in reversed(self.steps) if self._stale_measures(step)]

    def analyse(self, steps: Iterable[int]) -> None:
        """Generates and measures what is missing of some checkpoints; one that fails is noted and the others go on."""
        write_text(self.folder / "analysis.yaml", OmegaConf.to_yaml(OmegaConf.structured(self.options)))
        for step in steps:
            try:
                self._analyse(step)
                self.failure_file(step).unlink(missing_ok=True)
            except UserError as error:
                write_json(self.failure_file(step), {"step": step, "why": str(error)})

    def _analyse(self, step: int) -> None:
        stale = self._stale_measures(step)
        if not stale:
            return
        last = {"last_samples": self._last_samples()} if any(measure.needs_last for measure in stale) else {}
        tensors = {**vars(self.generations(step)), **last}
        results = self.results(step) | {measure.name: self._measured(measure, tensors) for measure in stale}
        write_json(self.results_file(step), {"step": step, "measures": results, "versions": versions()})

    def generations(self, step: int) -> Generations:
        """Noise, samples and latents of a checkpoint, generated where they are not kept yet."""
        file = self.generations_file(step)
        kept = generate.load(file, self.options)
        if kept is not None:
            return kept
        source = checkpoint.read(self.run.checkpoint(step))
        denoiser = open_checkpoint(source, self.options.weights, device())
        made = generate.generate(denoiser, self.options)
        generate.save(made, file, made_from=source.digests[self.options.weights])
        return made

    def _last_samples(self) -> torch.Tensor:
        try:
            return self.generations(self.last_step).samples
        except UserError as error:
            raise UserError(f"the last checkpoint, which it is compared with, fails: {error}") from None

    def _measured(self, measure: Measure, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {**self._conditions(measure), "values": measure.values(tensors, self.options.measures)}

    def _conditions(self, measure: Measure) -> dict[str, Any]:
        """All but the generations that a measure's numbers depend on; they are stale when it changes."""
        last = {"last_step": self.last_step} if measure.needs_last else {}
        return {"options": measure.options(self.options.measures), **last}

    def _stale_measures(self, step: int) -> list[Measure]:
        known = self.results(step)
        return [measure for measure in MEASURES if not self._is_fresh(measure, known.get(measure.name))]

    def _is_fresh(self, measure: Measure, result: dict[str, Any] | None) -> bool:
        return result is not None and result | self._conditions(measure) == result

    def results(self, step: int) -> dict[str, Any]:
        """What is known of a checkpoint: by measure its options, the last step where it matters, and its values."""
        try:
            return json.loads(self.results_file(step).read_text(encoding="utf-8"))["measures"]
        except (OSError, ValueError, KeyError):
            return {}

    def failures(self) -> dict[int, str]:
        """Why a checkpoint could not be analysed, by step."""
        files = [self.failure_file(step) for step in self.steps]
        notes = [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]
        return {note["step"]: note["why"] for note in notes}


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
