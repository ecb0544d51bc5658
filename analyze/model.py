"""Analysis of a pretrained model with several numbers T of DDIM steps, from the same noise.

runs/openai_cifar10/
  model.json (description and digest)   lock   analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/…   report/…
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analyze.analysis import Analysis
from analyze.generations import GENERATORS, TRAJECTORY_IMAGES, Generations, LoadDenoiser
from analyze.measures import Measure
from analyze.settings import Setting
from configs.errors import UserError
from configs.schema import Analyze, ModelStudy
from diffusion.denoiser import Denoiser
from models.compiled import optimize_inference, tensor_bytes
from models.source import Source, add_call_hook, check_ddim_steps, open_source
from records import lock
from records.atomic import write_json
from records.layout import experiment_folder
from records.progress import progress
from records.provenance import versions

PAPER_SWEEP = (10, 50, 100, 500, 1000, 4000)


@dataclass(frozen=True)
class ModelAnalysis(Analysis):
    """Analysis of a model with one number T of sampling steps."""

    study: ModelStudy
    analyze_options: Analyze
    source: Source
    load_denoiser: LoadDenoiser
    only: str | None = None

    @property
    def options(self) -> Analyze:
        return self.analyze_options

    @property
    def root(self) -> Path:
        return experiment_folder(self.study) / "analysis"

    @property
    def setting(self) -> Setting:
        return Setting.from_options(self.options, checkpoint=None)

    @property
    def steps(self) -> list[int]:
        return [self.setting.position]

    @property
    def has_decoder(self) -> bool:
        return self.source.denoiser.decode is not None

    def conditions(self, count: int) -> list[str]:
        """Return the conditions of the first `count` images, in turn: prompts or classes; empty if there are none."""
        labels = self.source.denoiser.labels(0, count, self.options.labels)
        if labels is None:
            return []
        prompts, numbers = self.source.config.get("prompts"), list(dict.fromkeys(labels.tolist()))
        return [f"“{prompts[number]}”" for number in numbers] if prompts else [f"class {number}" for number in numbers]

    @functools.cached_property
    def _generations(self) -> Generations:
        folder, spacing, are_codes = self.generations_folder, self.source.spacing, self.has_decoder
        return Generations(folder, self.setting, self.options, self.load_denoiser, spacing, are_codes=are_codes)

    def generations(self, step: int) -> Generations:
        return self._generations

    def measures(self, step: int) -> list[Measure]:
        """Return the measures that need neither other checkpoints nor training images."""
        measures = super().measures(step)
        return [measure for measure in measures if not measure.needs_last and "training_images" not in measure.inputs]

    def may_run_network(self, step: int) -> bool:
        return super().may_run_network(step) and self.options.ddim_steps == self.study.analyze.ddim_steps

    def evaluations(self) -> int:
        """Return the number of network evaluations, one per image and step, that missing tensors take."""
        names = {name for measure in self.measures(self.last_step) for name in measure.inputs} | {"samples"}
        missing = [name for name in names & GENERATORS.keys() if not self._generations.file(name).exists()]
        calls = sum(self._evaluations_per_image(name) * self._images(name) for name in missing)
        return calls * self.source.denoiser.evaluations_per_call

    def _evaluations_per_image(self, name: str) -> int:
        generations = self._generations
        inverse = generations.inverter.inversion_evaluations
        return inverse if name == "latents" else generations.sampler.sampling_evaluations

    def _images(self, name: str) -> int:
        return min(TRAJECTORY_IMAGES if name == "trajectory" else self.options.samples, self.options.samples)


def analyze_model(study: ModelStudy, only: str | None = None) -> tuple[Source, list[ModelAnalysis]]:
    """Analyze a model for every T that has no results yet; return the model and the analyses of all T, ascending.

    `only` restricts the analysis to one measure. The failure of one T is recorded, and the others continue. Raises
    UserError if the model cannot be opened, does not support a requested T, or differs from the model analyzed before
    under the same name.
    """
    source = open_source(study)
    print("\n  ".join([study.source, *source.about]), flush=True)
    steps = sweep(study, source)
    load_denoiser = denoiser_loader(study, source, lambda images: bar.update(min(images, evaluations - bar.n)))
    analyses = [model_analysis(study, source, load_denoiser, ddim_steps, only) for ddim_steps in steps]
    with exclusive(study):
        check_model(study, source)
        missing = [analysis for analysis in analyses if analysis.missing()]
        missing.sort(key=lambda analysis: analysis.may_run_network(analysis.last_step))  # the bar excludes these runs
        evaluations = sum(analysis.evaluations() for analysis in missing)
        with progress("generating", evaluations, "image·step", shown=bool(missing)) as bar:
            for analysis in missing:
                bar.set_description_str(f"T = {analysis.options.ddim_steps:,}")
                analysis.analyze(analysis.steps)
    return source, analyses


def describe(study: ModelStudy) -> str:
    """Describe a study's model and its sweep of T. Raises UserError like `analyze_model`."""
    source = open_source(study)
    steps = sweep(study, source)
    listed = ", ".join(f"{ddim_steps:,}" for ddim_steps in steps)
    return "\n  ".join([study.source, *source.about, f"T = {listed} DDIM steps", *_cost(study, source, steps)])


def _cost(study: ModelStudy, source: Source, steps: Sequence[int]) -> list[str]:
    """Return the size of the network, and the evaluations and memory that missing results take, as lines of text."""
    network, decode, options = source.denoiser.network, source.denoiser.decode, study.analyze
    modules = [module for module in (network, decode) if isinstance(module, nn.Module)]
    half, gigabytes = options.precision == "bf16", functools.partial("{:,.2f} GB".format)
    weights = sum(tensor_bytes(module, half and module is network) for module in modules) / 1e9
    parameters = sum(parameter.numel() for module in modules for parameter in module.parameters()) / 1e6
    load_denoiser = denoiser_loader(study, source, lambda evaluations: None)
    analyses = [model_analysis(study, source, load_denoiser, ddim_steps) for ddim_steps in steps]
    evaluations = sum(analysis.evaluations() for analysis in analyses if analysis.missing())
    per_tensor = options.samples * math.prod(source.denoiser.shape) * 4 / 1e9
    return [
        f"{parameters:,.1f} M parameters; {gigabytes(weights)} on every device",
        f"{evaluations:,} network evaluations to generate and invert {options.samples:,} images",
        f"{gigabytes(per_tensor)} of main memory for each of noise, images and latents",
    ]


def sweep(study: ModelStudy, source: Source) -> list[int]:
    """Return the requested numbers of DDIM steps, ascending. Raises UserError if the model does not support one."""
    requested = {*study.sweep, study.analyze.ddim_steps}
    for ddim_steps in requested | {study.analyze.inversion_steps or study.analyze.ddim_steps}:
        check_ddim_steps(source, ddim_steps)
    paper = () if study.sweep else PAPER_SWEEP
    return sorted(requested | {ddim_steps for ddim_steps in paper if _is_supported(source, ddim_steps)})


def _is_supported(source: Source, ddim_steps: int) -> bool:
    try:
        check_ddim_steps(source, ddim_steps)
    except UserError:
        return False
    return True


def denoiser_loader(study: ModelStudy, source: Source, after_call: Callable[[int], Any]) -> LoadDenoiser:
    """Return a function that opens the model once per device; `after_call` gets the evaluations of each call."""

    @functools.cache
    def load_denoiser(device: torch.device, optimized: bool = True) -> Denoiser:
        options = study.analyze
        denoiser = source.load_denoiser(device, half=optimized and options.precision == "bf16")
        if optimized:
            denoiser = optimize_inference(denoiser, options.precision, options.compile)
        return add_call_hook(denoiser, after_call)

    return load_denoiser


def model_analysis(
    study: ModelStudy,
    source: Source,
    load_denoiser: LoadDenoiser,
    ddim_steps: int,
    only: str | None = None,
) -> ModelAnalysis:
    """Return the analysis of a model for one T. Raises UserError if a requested class does not exist."""
    options, denoiser = study.analyze, source.denoiser
    denoiser.labels(0, 1, options.labels)  # raises if a class does not exist
    clip = denoiser.clip if options.clip_denoised is None else options.clip_denoised
    options = dataclasses.replace(options, ddim_steps=ddim_steps, clip_denoised=clip)
    return ModelAnalysis(study, options, source, load_denoiser, only)


def check_model(study: ModelStudy, source: Source) -> None:
    """Record the model in the study's folder. Raises UserError if the folder belongs to another model."""
    file = experiment_folder(study) / "model.json"
    if not file.exists():
        model = {"about": source.about, "sha256": source.digest, "config": source.config}
        write_json(file, model | {"source": study.source, "versions": versions()})
        return
    recorded = json.loads(file.read_text(encoding="utf-8"))
    config = recorded.get("config", {})  # not recorded by version 0.1
    if recorded["sha256"] != source.digest or config != {key: source.config.get(key) for key in config}:
        description = "; ".join(recorded["about"])
        raise UserError(
            f"{file.parent} contains the analysis of another model ({description}); choose a different name="
        )


@contextmanager
def exclusive(study: ModelStudy) -> Iterator[None]:
    """Hold the study's lock. Raises UserError if another process holds it."""
    folder = experiment_folder(study)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(folder / "lock", lock.describe_process("analysis"), wait_s=0))
        except lock.Busy as busy:
            raise UserError(f"{folder} is in use by another {busy}") from None
        yield
