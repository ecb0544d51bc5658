"""A model that others trained, analysed with several numbers T of DDIM steps from the same noise.

runs/openai_cifar10/
  model.json (what it is)   lock   analysis/ema_0.9999-T100-N2048-clip-1f0c2b7a/…   report/…
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from analyze.analysis import Analysis, fingerprint
from analyze.generations import TRAJECTORY_IMAGES, Tensors
from analyze.measures import Measure
from configs.errors import UserError
from configs.schema import Analyze, ModelStudy
from diffusion.denoiser import Denoiser
from models.compiled import optimize_inference
from models.source import Source, check_ddim_steps, counting, open_source
from records import lock
from records.atomic import write_json
from records.layout import experiment_folder
from records.progress import progress
from records.provenance import versions

PAPER_SWEEP = (10, 50, 100, 500, 1000, 4000)


@dataclass(frozen=True)
class ModelAnalysis(Analysis):
    """The analysis of a model with one number of DDIM steps, which takes the place of a checkpoint's step."""

    root: Path
    options: Analyze
    load_denoiser: Callable[[torch.device], Denoiser]
    makes_codes: bool

    @property
    def folder(self) -> Path:  # type: ignore[override]
        return self.root / "analysis" / fingerprint(self.options)

    @property
    def steps(self) -> list[int]:  # type: ignore[override]
        return [self.options.ddim_steps]

    @functools.cached_property
    def _tensors(self) -> Tensors:
        step, load_denoiser = self.options.ddim_steps, self.load_denoiser
        return Tensors(self.folder / "generations", step, self.options, load_denoiser, are_codes=self.makes_codes)

    def tensors(self, step: int) -> Tensors:
        return self._tensors

    def measured(self, step: int) -> list[Measure]:
        """What says something of a single model, which comes without its training images."""
        return [one for one in super().measured(step) if not one.needs_last and "training_images" not in one.inputs]

    def evaluations(self) -> int:
        """How many images the network has still to be asked about, each as often as there are DDIM steps."""
        needed = {name for one in self.measured(self.options.ddim_steps) for name in one.inputs} - {"noise"}
        images = {name: TRAJECTORY_IMAGES if name == "trajectory" else self.options.samples for name in needed}
        missing = [name for name in needed if not self._tensors.file(name).exists()]
        return self.options.ddim_steps * sum(min(images[name], self.options.samples) for name in missing)


def analyse(study: ModelStudy) -> tuple[Source, list[ModelAnalysis]]:
    """Analyses a model with every T that is not done yet; the model, and the analyses of all T, ascending.

    Raises UserError where the model cannot be opened, has not so many steps, or is another one than was analysed under
    this name. A T that fails is noted, and the others go on.
    """
    source = open_source(study)
    print("\n  ".join([study.source, *source.about]), flush=True)
    swept = sweep(study, source.denoiser)
    load_denoiser = _opener(study, source, lambda images: bar.update(images))
    analyses = [_analysis(study, load_denoiser, source.denoiser, steps) for steps in swept]
    with exclusive(study):
        claim(study, source)
        todo = [one for one in analyses if one.missing()]
        with progress("generating", sum(one.evaluations() for one in todo), "image·step", shown=bool(todo)) as bar:
            for one in todo:
                bar.set_description_str(f"T = {one.options.ddim_steps:,}")
                one.analyse(one.steps)
    return source, analyses


def described(study: ModelStudy) -> str:
    """What the model of a study is, and with which T it would be analysed. Raises UserError as `analyse` does."""
    source = open_source(study)
    swept = sweep(study, source.denoiser)
    return "\n  ".join([study.source, *source.about, f"T = {', '.join(f'{steps:,}' for steps in swept)} DDIM steps"])


def sweep(study: ModelStudy, denoiser: Denoiser) -> list[int]:
    """The numbers of DDIM steps that are asked for, ascending. Raises UserError where the model cannot take one."""
    asked = {*study.sweep, study.analyze.ddim_steps}
    for ddim_steps in asked:
        check_ddim_steps(denoiser, ddim_steps)
    paper = () if study.sweep else PAPER_SWEEP
    return sorted(asked | {steps for steps in paper if _reachable(denoiser, steps)})


def _reachable(denoiser: Denoiser, ddim_steps: int) -> bool:
    try:
        check_ddim_steps(denoiser, ddim_steps)
    except UserError:
        return False
    return True


def _opener(study: ModelStudy, source: Source, called: Callable[[int], Any]) -> Callable[[torch.device], Denoiser]:
    """Opens the model on a device, once for every T, and tells of each call of its network."""

    @functools.cache
    def load_denoiser(device: torch.device) -> Denoiser:
        return counting(
            optimize_inference(source.load_denoiser(device), study.analyze.precision, study.analyze.compile), called
        )

    return load_denoiser


def _analysis(
    study: ModelStudy, load_denoiser: Callable[[torch.device], Denoiser], denoiser: Denoiser, ddim_steps: int
) -> ModelAnalysis:
    asked = study.analyze
    denoiser.labels(0, 1, asked.labels)  # refuses classes that there are not
    clip = denoiser.clip if asked.clip_denoised is None else asked.clip_denoised
    options = dataclasses.replace(asked, ddim_steps=ddim_steps, clip_denoised=clip)
    return ModelAnalysis(experiment_folder(study), options, load_denoiser, denoiser.decode is not None)


def claim(study: ModelStudy, source: Source) -> None:
    """Writes down which model the study's folder is of. Raises UserError where it is of another one."""
    file = experiment_folder(study) / "model.json"
    about = {"about": source.about, "sha256": source.digest}
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        if {key: before.get(key) for key in about} != about:
            told = "; ".join(before.get("about", []))
            raise UserError(f"{file.parent} holds the analysis of another model ({told}); choose another name=")
        return
    write_json(file, about | {"source": study.source, "versions": versions()})


@contextmanager
def exclusive(study: ModelStudy) -> Iterator[None]:
    """Holds the study's lock. Raises UserError where somebody else does."""
    folder = experiment_folder(study)
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(folder / "lock", lock.describe_process("analysis"), wait_s=0))
        except lock.Busy as busy:
            raise UserError(f"another {busy}, is at work on {folder}") from None
        yield
