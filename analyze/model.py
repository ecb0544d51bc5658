"""Analysis of a pretrained model with several numbers T of DDIM steps, from the same noise.

runs/openai_cifar10/
  model.json (description and digest)   lock   analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/…   report/…
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analyze import slices
from analyze.analysis import Analysis, failure_reason
from analyze.generate import TRAJECTORY_POINTS, batch_size
from analyze.generations import DECODED_IMAGES, GENERATORS, TRAJECTORY_IMAGES, Generations, LoadDenoiser, devices
from analyze.measures import Measure
from analyze.measures.inverters import check_names
from analyze.model_record import Facts, check_model, exclusive, paper_sweep
from analyze.settings import Setting
from configs.errors import UserError
from configs.schema import Analyze, ModelStudy
from diffusion.denoiser import Denoiser
from models.autoencoders import Decoder
from models.compiled import HALF, check_compiler, optimize_inference, should_compile, tensor_bytes
from models.source import Source, add_call_hook, check_ddim_steps, open_source
from records.atomic import write_json
from records.layout import experiment_folder
from records.progress import progress


@dataclass(frozen=True)
class ModelAnalysis(Analysis):
    """Analysis of a model with one number T of sampling steps.

    If the model is not open, `opened` is None, and only results that are already stored are available.
    """

    study: ModelStudy
    analyze_options: Analyze
    opened: Source | None
    load_denoiser: LoadDenoiser
    only: str | None = None

    @property
    def source(self) -> Source:
        assert self.opened is not None, "the model is not open"
        return self.opened

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
        stored = Generations(
            self.generations_folder,
            self.setting,
            self.options,
            self.load_denoiser,
            vae_scaling_factor=self.study.vae_scaling_factor,
        )
        if self.opened is None:
            return stored
        return dataclasses.replace(stored, spacing=self.opened.spacing, are_codes=self.has_decoder)

    def generations(self, step: int) -> Generations:
        return self._generations

    def measures(self, step: int) -> list[Measure]:
        """Return the measures that need neither other checkpoints nor training images."""
        measures = super().measures(step)
        return [measure for measure in measures if not measure.needs_last and "training_images" not in measure.inputs]

    def may_run_network(self, step: int) -> bool:
        return super().may_run_network(step) and self.options.ddim_steps == self.study.analyze.ddim_steps

    def tensors(self) -> list[str]:
        """Return the names of the stored tensors that the measures need, each after those that it depends on."""
        names = {name for measure in self.measures(self.last_step) for name in measure.inputs} | {"samples"}
        return [*(name for name in slices.SLICED if name in names), *sorted(names & GENERATORS.keys() - slices.SLICED)]

    def incomplete_images(self) -> list[range]:
        """Return the images of which any tensor in slices is not stored, as ascending ranges."""
        names = filter(slices.SLICED.__contains__, self.tensors())
        return slices.union(gap for name in names for gap in self._missing_images(name))

    def _missing_images(self, name: str, checked: bool = True) -> list[range]:
        if name in slices.SLICED:
            return slices.missing(self._generations, name, range(self.options.samples), checked)
        return [] if self._generations.file(name).exists() else [self._generations.images_of(name)]

    def calls(self, names: Iterable[str], checked: bool = True) -> int:
        """Return the number of calls of the network, one per image and step, that missing tensors take.

        Unless it is `checked` that files can be read, the number is known from their names.
        """
        return sum(self._calls_per_image(name) * sum(map(len, self._missing_images(name, checked))) for name in names)

    def _calls_per_image(self, name: str) -> int:
        generations = self._generations
        inverse = generations.inverter.inversion_evaluations
        return inverse if name == "latents" else generations.sampler.sampling_evaluations

    def generate(self, part: range) -> None:
        """Generate the missing tensors of some images, in slices of a batch per device.

        Raises UserError, after recording it as the failure of this T, if that fails.
        """
        if should_compile(self.options.compile, devices()[0]):
            check_compiler(devices()[0].type)
        if reason := failure_reason(lambda: self._fill(part)):
            write_json(self.failure_file(self.last_step), {"step": self.last_step, "why": reason})
            raise UserError(reason)

    def _fill(self, part: range) -> None:
        generations = self._generations
        names = [name for name in self.tensors() if name in slices.SLICED]
        if any(slices.missing(generations, name, part) for name in names):
            size = len(generations.denoisers) * batch_size(generations.denoisers, len(part), self.options)
            for name in names:
                slices.fill(generations, name, part, size)

    def decode(self) -> None:
        """Decode the codes of the pictures, unless they are stored."""
        if self.has_decoder:
            self._generations.images  # noqa: B018
            if self._generations.file("self_interpolations").exists():
                self._generations.interpolation_images  # noqa: B018


def analyze_model(study: ModelStudy, only: str | None = None) -> tuple[Source, list[ModelAnalysis]]:
    """Analyze a model for every T that has no results yet; return the model and the analyses of all T, ascending.

    `only` restricts the analysis to one measure. The failure of one T is recorded, and the others continue. Raises
    UserError if the model cannot be opened, does not support a requested T, or differs from the model analyzed before
    under the same name.
    """
    source, analyses = open_analyses(study, lambda images: bar.update(min(images, evaluations - bar.n)), only)
    print("\n  ".join([study.source, *source.about]), flush=True)
    with exclusive(study):
        check_model(study, source)
        missing = [analysis for analysis in analyses if analysis.missing()]
        missing.sort(key=lambda analysis: analysis.may_run_network(analysis.last_step))  # the bar excludes these runs
        evaluations = sum(analysis.calls(analysis.tensors()) for analysis in missing)
        evaluations *= source.denoiser.evaluations_per_call
        with progress("generating", evaluations, "image·step", shown=bool(missing)) as bar:
            for analysis in missing:
                bar.set_description_str(f"T = {analysis.options.ddim_steps:,}")
                analysis.analyze(analysis.steps)
    return source, analyses


def open_analyses(
    study: ModelStudy, after_call: Callable[[int], Any] = lambda evaluations: None, only: str | None = None
) -> tuple[Source, list[ModelAnalysis]]:
    """Return the model and the analyses of all T, ascending; `after_call` gets the evaluations of each call.

    Raises UserError like `analyze_model`.
    """
    source = open_source(study)
    load_denoiser = denoiser_loader(study, source, after_call)
    steps = sweep(study, source)
    return source, [model_analysis(study, source, load_denoiser, ddim_steps, only) for ddim_steps in steps]


@contextmanager
def open_analysis(study: ModelStudy, ddim_steps: int, after_call: Callable[[int], Any]) -> Iterator[ModelAnalysis]:
    """Open the model and yield the analysis of one T, while other processes may analyze the same model.

    Raises UserError like `analyze_model`.
    """
    source = open_source(study)
    check_ddim_steps(source, ddim_steps)
    with exclusive(study, shared=True):
        check_model(study, source)
        yield model_analysis(study, source, denoiser_loader(study, source, after_call), ddim_steps)


def stored_analysis(study: ModelStudy, facts: Facts, ddim_steps: int) -> ModelAnalysis:
    """Return the analysis of one T without opening the model, for its stored results."""
    options = study.analyze
    clip = facts.clip if options.clip_denoised is None else options.clip_denoised
    options = dataclasses.replace(options, ddim_steps=ddim_steps, clip_denoised=clip)
    return ModelAnalysis(study, options, None, _not_open)


def stored_analyses(study: ModelStudy, facts: Facts) -> list[ModelAnalysis]:
    """Return the analyses of all T without opening the model, for their stored results."""
    steps = {*study.sweep, study.analyze.ddim_steps} | (set() if study.sweep else set(facts.sweep))
    return [stored_analysis(study, facts, ddim_steps) for ddim_steps in sorted(steps)]


def _not_open(device: torch.device, optimized: bool = True) -> Denoiser:
    raise AssertionError("the model is not open")


def describe(study: ModelStudy) -> str:
    """Describe a study's model and its sweep of T. Raises UserError like `analyze_model`."""
    return outline(study, *open_analyses(study))


def outline(study: ModelStudy, source: Source, analyses: Sequence[ModelAnalysis]) -> str:
    """Describe an open model and its sweep of T."""
    listed = ", ".join(f"{analysis.options.ddim_steps:,}" for analysis in analyses)
    return "\n  ".join([study.source, *source.about, f"T = {listed} DDIM steps", *_cost(study, source, analyses)])


def _cost(study: ModelStudy, source: Source, analyses: Sequence[ModelAnalysis]) -> list[str]:
    """Return the size of the network, and the evaluations and memory that missing results take, as lines of text."""
    network, decode, options = source.denoiser.network, source.denoiser.decode, study.analyze
    modules = [module for module in (network, decode) if isinstance(module, nn.Module)]
    half, gigabytes = options.precision in HALF, functools.partial("{:,.2f} GB".format)
    weights = sum(tensor_bytes(module, half and module is network) for module in modules) / 1e9
    parameters = sum(parameter.numel() for module in modules for parameter in module.parameters()) / 1e6
    calls = sum(analysis.calls(analysis.tensors()) for analysis in analyses if analysis.missing())
    evaluations = calls * source.denoiser.evaluations_per_call
    channels, height, width = source.denoiser.shape
    per_image = channels * height * width * 4 / 1e9
    stored = TRAJECTORY_POINTS * min(TRAJECTORY_IMAGES, options.samples)
    pictures = []
    if isinstance(decode, Decoder):
        decoded = min(options.samples, DECODED_IMAGES) * 3 * height * width * decode.factor**2 / 1e9
        pictures = [f"{gigabytes(decoded)} of main memory for decoded images"]
    return [
        f"{parameters:,.1f} M parameters; {gigabytes(weights)} on every device",
        f"{evaluations:,} network evaluations for everything that is missing, with {options.samples:,} images",
        f"{gigabytes(options.samples * per_image)} of main memory for each of noise, "
        f"{'codes' if decode else 'images'} and latents, and {gigabytes(stored * per_image)} for trajectories",
        *pictures,
    ]


def sweep(study: ModelStudy, source: Source) -> list[int]:
    """Return the requested numbers of DDIM steps, ascending. Raises UserError if the model does not support one."""
    requested = {*study.sweep, study.analyze.ddim_steps}
    for ddim_steps in requested | {study.analyze.inversion_steps or study.analyze.ddim_steps}:
        check_ddim_steps(source, ddim_steps)
    return sorted(requested | (set() if study.sweep else set(paper_sweep(source))))


def denoiser_loader(study: ModelStudy, source: Source, after_call: Callable[[int], Any]) -> LoadDenoiser:
    """Return a function that opens the model once per device; `after_call` gets the evaluations of each call."""

    @functools.cache
    def load_denoiser(device: torch.device, optimized: bool = True) -> Denoiser:
        options = study.analyze
        denoiser = source.load_denoiser(device, half=HALF.get(options.precision) if optimized else None)
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
    """Return the analysis of a model for one T. Raises UserError if a requested class or inverter does not exist."""
    options, denoiser = study.analyze, source.denoiser
    denoiser.labels(0, 1, options.labels)  # raises if a class does not exist
    check_names(options.measures.inverters)
    clip = denoiser.clip if options.clip_denoised is None else options.clip_denoised
    options = dataclasses.replace(options, ddim_steps=ddim_steps, clip_denoised=clip)
    return ModelAnalysis(study, options, source, load_denoiser, only)
