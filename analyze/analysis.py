"""Analysis of checkpoints: generations and measures, each computed once and stored.

analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/
  analysis.yaml   generations/000002500/…   000002500.json (its measures)   000002500.failed.json
"""

import functools
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf

from analyze.generations import ONLY_LAST, Generations, devices
from analyze.measures import MEASURES, Measure, MeasureFailed
from analyze.measures.inverters import check_names
from analyze.measures.unavailable import Unavailable
from analyze.settings import Setting, fingerprint, samples_fingerprint
from analyze.stored_results import is_fresh, meets, read_results
from configs.checks import checkpoint_steps
from configs.errors import UserError, first_line, is_full_disk
from configs.schema import Analyze, Experiment
from diffusion.denoiser import Denoiser
from models.compiled import allow_tf32, check_compiler, optimize_inference, should_compile
from models.open import open_checkpoint
from records.atomic import read_json, write_json, write_text
from records.layout import SeedFolder, data_folder, experiment_folder, saved_steps, seed_folder, step_name
from records.progress import progress
from records.provenance import versions
from records.sealed import write_sealed


def analyze_experiment(experiment: Experiment, only: str | None = None) -> "list[SeedAnalysis]":
    """Analyze all checkpoints whose results are missing or stale, in this process; return the analysis of each seed.

    `only` restricts the analysis to one measure. Raises UserError if there are no checkpoints.
    """
    analyses = [SeedAnalysis(experiment, seed, only) for seed in experiment.seeds]
    if not any(analysis.steps for analysis in analyses):
        raise UserError(f"{experiment_folder(experiment)} contains no checkpoints; train first: python -m train …")
    missing = [(analysis, steps) for analysis in analyses if (steps := analysis.missing())]
    checkpoints = sum(len(steps) for _, steps in missing)
    with progress("analyzing", checkpoints, "checkpoint", shown=bool(missing)) as bar:
        for analysis, steps in missing:
            analysis.analyze(steps, bar.update, bar.name_work)
        bar.set_postfix_str("", refresh=False)
    return analyses


def other_fingerprints(experiment: Experiment) -> list[str]:
    """Return the fingerprints of the experiment's stored analyses, except the configured one."""
    files = experiment_folder(experiment).glob("seed_*/analysis/*/analysis.yaml")
    return sorted({file.parent.name for file in files} - {fingerprint(experiment.analyze)})


def nothing_analyzed(experiment: Experiment) -> str:
    """Return the error message for an experiment without results under its configuration."""
    folder, others = experiment_folder(experiment), other_fingerprints(experiment)
    if not others:
        return f"{folder}: nothing has been analyzed yet; run python -m analyze first"
    return (
        f"{folder}: there are no results for {fingerprint(experiment.analyze)}, only for {', '.join(others)}; "
        "pass the analyze options of one of these"
    )


class Analysis(ABC):
    """Generations and measures of several checkpoints, or of a model, under the same options.

    A step identifies a checkpoint by its training step; a model without checkpoints has the single step T (see
    `Setting.position`).
    """

    only: str | None = None  # name of the single measure that is computed; None: all

    @property
    @abstractmethod
    def options(self) -> Analyze: ...

    @property
    @abstractmethod
    def root(self) -> Path:
        """Folder of all analyses of this run or model."""

    @property
    @abstractmethod
    def steps(self) -> Sequence[int]:
        """Available steps, ascending."""

    @abstractmethod
    def generations(self, step: int) -> Generations:
        """Return the tensors of a step, which are generated on first use."""

    @property
    def folder(self) -> Path:
        """Folder of the results."""
        return self.root / fingerprint(self.options)

    @property
    def generations_folder(self) -> Path:
        """Folder of the tensors; analyses that differ only in the inverter share their samples."""
        return self.root / samples_fingerprint(self.options) / "generations"

    def measures(self, step: int) -> list[Measure]:
        """Return the measures that apply to a step."""
        measures = [measure for measure in MEASURES if self.only in (None, measure.name)]
        measures = [measure for measure in measures if measure.is_on(self.options.measures)]
        if step != self.last_step:
            measures = [measure for measure in measures if not ONLY_LAST & set(measure.inputs)]
        return [measure for measure in measures if not measure.needs_network or self.may_run_network(step)]

    def may_run_network(self, step: int) -> bool:
        """Return whether measures that run the network are computed at a step."""
        selected = self.options.measures.inversion_checkpoints
        return selected == "all" or (selected == "last" and step == self.last_step)

    @property
    def last_step(self) -> int:
        """Last available checkpoint; preliminary until training has finished."""
        return self.steps[-1]

    def results_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.json"

    def failure_file(self, step: int) -> Path:
        return self.folder / f"{step_name(step)}.failed.json"

    def missing(self) -> list[int]:
        """Return the steps with missing or stale measures, the last step first because the others depend on it."""
        return [step for step in reversed(self.steps) if self._stale_measures(step)]

    def analyze(
        self,
        steps: Iterable[int],
        after_each: Callable[[], object] = lambda: None,
        before_work: Callable[[str], object] = lambda name: None,
    ) -> None:
        """Generate and measure the missing results of the given steps; record failures and continue.

        `after_each` is called after each step, and `before_work` with the name of each tensor and measure. Raises
        UserError if an inverter does not exist, or if networks must be compiled and no compiler works.
        """
        check_names(self.options.measures.inverters)
        if should_compile(self.options.compile, devices()[0]):
            check_compiler(devices()[0].type)
        write_text(self.folder / "analysis.yaml", OmegaConf.to_yaml(OmegaConf.structured(self.options)))
        for step in steps:
            if reason := failure_reason(functools.partial(self._measure, step, before_work)):
                write_json(self.failure_file(step), {"step": step, "why": reason})
            else:
                self.failure_file(step).unlink(missing_ok=True)
            after_each()

    def _generate(self, step: int, measures: list[Measure], before_work: Callable[[str], object]) -> dict[str, Any]:
        """Return the inputs of a step's measures by name; tensors are on the measuring device.

        Training images stay on the CPU; the measures that use them move them batch by batch.
        """
        names = {name for measure in measures for name in measure.inputs}
        generations, device = self.generations(step), devices()[0]
        if "last_samples" in names:
            self._check_last(generations)
        tensors = {}
        for name in sorted(names - {"generations"}):
            before_work(name)
            tensors[name] = generations[name]
        moved = {name: tensor if name == "training_images" else tensor.to(device) for name, tensor in tensors.items()}
        return {**moved, "generations": generations}

    def _measure(self, step: int, before_work: Callable[[str], object]) -> None:
        """Compute and store a step's stale measures. Raises UserError, after storing the others, if any fails."""
        measures, results, failures = self._stale_measures(step), {}, []
        tensors = self._generate(step, measures, before_work)
        for measure in measures:
            before_work(measure.name)
            try:
                results[measure.name] = self._result(measure, tensors)
            except MeasureFailed as error:
                traceback.print_exc()
                failures.append(str(error))
            except UserError as error:
                failures.append(str(error))
        stale = {measure.name for measure in self._stale_measures(step)}  # another process may have measured meanwhile
        if results := {name: result for name, result in results.items() if name in stale}:
            content = {"setting": asdict(self.generations(step).setting), "measures": self.results(step) | results}
            write_sealed(self.results_file(step), {"step": step, **content, "versions": versions()})
        if failures:
            raise UserError("; ".join(failures))

    def _check_last(self, generations: Generations) -> None:
        """Generate the last checkpoint's images first, to fail before any other work if they are unavailable."""
        if reason := self._last_failure:
            context = "" if generations.last is None else "the last checkpoint, which is the reference, fails: "
            raise UserError(f"{context}{reason}")

    @functools.cached_property
    def _last_failure(self) -> str:
        """Reason why the last checkpoint's images are unavailable, or ""; each attempt may generate all of them."""
        return failure_reason(lambda: self.generations(self.last_step)["samples"])

    def _result(self, measure: Measure, tensors: dict[str, Any]) -> dict[str, Any]:
        """Return a measure's values and the conditions they depend on, or the reason why it is unavailable."""
        allow_tf32(False)  # a process-wide switch, also set when a measure opens a network
        try:
            values: dict[str, Any] = {"values": measure.values(tensors, self.options.measures)}
        except Unavailable as reason:
            values = {"unavailable": str(reason)}
        requirements = self._requirements(measure)  # afterwards, because a measure may download what it requires
        return {**self._conditions(measure), **values, **({"requirements": requirements} if requirements else {})}

    def _conditions(self, measure: Measure) -> dict[str, Any]:
        """Return everything except the tensors that a result depends on; a result is stale if any of it changes."""
        last = {"last_step": self.last_step} if measure.needs_last else {}
        return {**measure.conditions(self.options.measures), **last}

    def _stale_measures(self, step: int) -> list[Measure]:
        results = self.results(step)
        return [measure for measure in self.measures(step) if not self._is_fresh(measure, results.get(measure.name))]

    def _is_fresh(self, measure: Measure, result: dict[str, Any] | None) -> bool:
        return is_fresh(result, self._conditions(measure), lambda: self._requirements(measure))

    def _requirements(self, measure: Measure) -> dict[str, bool]:
        """Return whether each file and package that a measure requires is on this machine."""
        return measure.requirements(self.options.measures, self.generations(self.last_step).training)

    def results(self, step: int) -> dict[str, Any]:
        """Return the stored results of a step by measure: options, last step if it is the reference, and values."""
        return read_results(self.results_file(step))

    def current_results(self, step: int) -> dict[str, Any]:
        """Return the stored results of the measures that apply to a step, without those of other options.

        They may be preliminary: compared with an earlier checkpoint than the last one.
        """
        stored, options = self.results(step), self.options.measures
        if not stored:
            return {}
        measures = [each for each in self.measures(step) if meets(stored.get(each.name), each.conditions(options))]
        return {measure.name: stored[measure.name] for measure in measures}

    def failures(self) -> dict[int, str]:
        """Return the reasons of failed steps; a failure under other options, of a step with all results, is none."""
        files = {step: self.failure_file(step) for step in self.steps}
        failed = {step: file for step, file in files.items() if file.exists() and self._stale_measures(step)}
        return {step: _failure_reason(file) for step, file in failed.items()}


def failure_reason(work: Callable[[], object]) -> str:
    """Do work; return the reason if it fails, or "". Raises OSError if the disk is full."""
    try:
        work()
    except UserError as error:
        return str(error)
    except Exception as error:
        if is_full_disk(error):
            raise
        traceback.print_exc()
        return f"{type(error).__name__}: {first_line(error)}"
    return ""


def _failure_reason(file: Path) -> str:
    try:
        return str(read_json(file)["why"])
    except (OSError, ValueError, LookupError, TypeError):
        return f"{file} is damaged; rerun the analysis"


@dataclass(frozen=True)
class SeedAnalysis(Analysis):
    """Analysis of the checkpoints of one seed of an experiment."""

    experiment: Experiment
    seed: int
    only: str | None = None

    @property
    def options(self) -> Analyze:
        return self.experiment.analyze

    @property
    def run(self) -> SeedFolder:
        return seed_folder(self.experiment, self.seed)

    @property
    def root(self) -> Path:
        return self.run.analyses

    @functools.cached_property
    def steps(self) -> list[int]:
        """Existing checkpoints that belong to the experiment's checkpoint schedule, ascending."""
        scheduled = set(self._scheduled)
        return [step for step in saved_steps(self.run.checkpoints) if step in scheduled]

    @property
    def awaited(self) -> list[int]:
        """Scheduled checkpoints that training has yet to save; none after it has ended, because they were deleted."""
        return [] if self.run.is_trained(self.experiment.train.steps) else self.not_saved

    @property
    def not_saved(self) -> list[int]:
        """Scheduled checkpoints that do not exist, ascending."""
        return [step for step in self._scheduled if step not in self.steps]

    @property
    def _scheduled(self) -> list[int]:
        return checkpoint_steps(self.experiment.train.checkpoints, self.experiment.train.steps)

    def _stale_measures(self, step: int) -> list[Measure]:
        """Return the stale measures of a step, without those compared with a checkpoint that was saved meanwhile."""
        stale, now = super()._stale_measures(step), replace(self)  # a copy finds new checkpoints
        if not stale or max(now.steps, default=-1) <= self.last_step:
            return stale
        return [measure for measure in now._stale_measures(step) if measure in stale]

    def generations(self, step: int) -> Generations:
        return Generations(
            self.generations_folder,
            Setting.from_options(self.options, step),
            self.options,
            functools.partial(self._load_denoiser, step),
            training=data_folder(self.experiment.data, self.experiment.model),
            last=None if step == self.last_step else self.generations(self.last_step),
        )

    def _load_denoiser(self, step: int, device: torch.device, optimized: bool = True) -> Denoiser:
        denoiser = open_checkpoint(self.run.checkpoint(step), self.options.weights, device)
        return optimize_inference(denoiser, self.options.precision, self.options.compile) if optimized else denoiser
