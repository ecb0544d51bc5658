"""Pretrained models of all supported kinds: checkpoint folders, OpenAI's files and pipelines of diffusers."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from configs.errors import UserError, first_line
from configs.load import load_model_study
from configs.schema import ModelStudy
from diffusion.denoiser import Denoiser
from diffusion.solvers.spacing import EulerSpacing, StridedSpacing, TimestepSpacing
from models.components import is_pipeline
from models.flow_matching import open_flow_matching
from models.open import open_checkpoint
from models.openai import open_openai
from models.openai_presets import PRESETS
from models.pipeline_options import PipelineOptions, check_class_options
from models.pipelines import download_pipeline, open_pipeline
from records import checkpoint
from records.atomic import file_digest
from records.download import download

WEIGHTS = (".pt", ".pth", ".safetensors")
PROMPTS_SHOWN = 4


@dataclass(frozen=True)
class Source:
    """A model on this machine.

    `about` describes it, one line per aspect. Models with the same `digest` of their files and the same `config`, the
    options that these files are opened with, compute the same numbers. `denoiser` is the model on the CPU, and
    `load_denoiser` opens it on a device.
    """

    about: list[str]
    digest: str
    denoiser: Denoiser
    load_denoiser: "LoadOnDevice"
    spacing: TimestepSpacing = StridedSpacing()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


class LoadOnDevice(Protocol):
    """Opens a model on a device, a pipeline with its weights as `half` if set (see `models.compiled.copy_to`)."""

    def __call__(self, device: torch.device, half: torch.dtype | None = None) -> Denoiser: ...


def find_model(study: ModelStudy) -> Path:
    """Return the path of a study's model on this machine; a published model is downloaded if needed.

    Raises UserError if it does not exist.
    """
    path = Path(study.source)
    if path.exists():
        return path
    if path.stem in PRESETS and path.name == study.source:
        return download(PRESETS[path.stem].url, None, Path(study.downloads), "source")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", study.source) and path.suffix not in WEIGHTS:
        return download_pipeline(study.source)
    raise UserError(f"{study.source} is neither an existing file or folder nor the name of a published model")


def open_model(source: str, *options: str) -> Source:
    """Open a model by path or name, with options of `ModelStudy` as in "analyze.weights=model" or "guidance=2".

    Raises UserError if it cannot be opened.
    """
    return open_source(load_model_study(source, options))


def open_source(study: ModelStudy) -> Source:
    """Open the model of a study on the CPU. Raises UserError if it cannot be opened."""
    path = find_model(study)
    if path.is_dir() and is_pipeline(path):
        return _pipeline(path, study)
    check_class_options(path, pipeline_options(study), has_null=study.flow_matching)
    if (path / "checkpoint.json").is_file():
        return _checkpoint(path, study.analyze.weights)
    if path.is_file():
        return _flow_matching(path, study) if study.flow_matching else _openai(path, study)
    raise UserError(f"{path} is neither a checkpoint folder, a pipeline of diffusers nor a file of weights")


def _checkpoint(path: Path, weights: str) -> Source:
    saved = checkpoint.read(path)
    about = [f"checkpoint of step {saved.step:,} and seed {saved.seed}, weights {weights}"]

    def load_denoiser(device: torch.device, half: torch.dtype | None = None) -> Denoiser:
        return open_checkpoint(path, weights, device)

    denoiser = load_denoiser(torch.device("cpu"))
    config = dataclasses.asdict(saved.model) | dataclasses.asdict(saved.diffusion)
    return Source([*about, *summary(denoiser)], saved.digests[weights], denoiser, load_denoiser, config=config)


def _pipeline(path: Path, study: ModelStudy) -> Source:
    options = pipeline_options(study)
    try:
        pipeline = open_pipeline(path, options)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:  # values of other types
        raise UserError(f"{path} cannot be opened as a pipeline: {first_line(error)}") from None
    about = [
        f"{pipeline.kind} of diffusers",
        *summary(pipeline.denoiser, "prompts" if options.prompts else "classes"),
        *_conditions(options),
    ]
    files = sorted(file for file in path.rglob("*") if file.suffix in (*WEIGHTS, ".bin", ".json"))
    listing = "".join(f"{file.relative_to(path)} {file_digest(file, 'sha256')}\n" for file in files)
    digest = hashlib.sha256(listing.encode()).hexdigest()
    config = {**dataclasses.asdict(options), "prompts": list(options.prompts)}
    del config["vae_scaling_factor"]  # affects pictures only
    return Source(about, digest, pipeline.denoiser, pipeline.load_denoiser, pipeline.spacing, config)


def pipeline_options(study: ModelStudy) -> PipelineOptions:
    """Return the options of a study's pipeline, with its prompts. Raises UserError if they cannot be read."""
    return PipelineOptions(
        tuple(read_prompts(study)),
        study.negative_prompt,
        study.guidance,
        study.latent_size,
        study.vae_scaling_factor,
    )


def read_prompts(study: ModelStudy) -> list[str]:
    """Return the prompts of a study, from its options or one per line from a file.

    Raises UserError if the file cannot be read, or if both are set.
    """
    if study.prompts_file is None:
        return study.prompts
    if study.prompts:
        raise UserError("prompts and prompts_file are both set; remove one of them")
    try:
        lines = Path(study.prompts_file).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"prompts_file={study.prompts_file} cannot be read: {first_line(error)}") from None
    if prompts := [line.strip() for line in lines if line.strip()]:
        return prompts
    raise UserError(f"prompts_file={study.prompts_file} contains no prompts; write one per line")


def _conditions(options: PipelineOptions) -> list[str]:
    """Return a description of prompts and guidance, one line per aspect."""
    lines = []
    if options.prompts:
        shown = "; ".join(f"“{prompt}”" for prompt in options.prompts[:PROMPTS_SHOWN])
        more = f" and {len(options.prompts) - PROMPTS_SHOWN:,} more" if len(options.prompts) > PROMPTS_SHOWN else ""
        lines.append(f"prompts, in turn: {shown}{more}")
    if options.negative_prompt is not None:
        lines.append(f"negative prompt: “{options.negative_prompt}”")
    return [*lines, f"guidance {options.guidance:g}"] if options.guidance != 1 else lines


def _flow_matching(path: Path, study: ModelStudy) -> Source:
    def load_denoiser(device: torch.device, half: torch.dtype | None = None) -> Denoiser:
        return open_flow_matching(path, study.openai, study.guidance, device)[0]

    denoiser, description = open_flow_matching(path, study.openai, study.guidance, torch.device("cpu"))
    if study.guidance != 1 and denoiser.num_classes is None:
        raise UserError(f"{path}: guidance needs a model with classes; set guidance=1")
    about = ["velocity model of flow_matching", *summary(denoiser), *description.lines]
    config = dataclasses.asdict(description.model) | {"flow_matching": True, "guidance": study.guidance}
    return Source(about, file_digest(path, "sha256"), denoiser, load_denoiser, EulerSpacing(), config)


def _openai(path: Path, study: ModelStudy) -> Source:
    def load_denoiser(device: torch.device, half: torch.dtype | None = None) -> Denoiser:
        return open_openai(path, study.openai, device)[0]

    denoiser, description = open_openai(path, study.openai, torch.device("cpu"))
    about = ["OpenAI's U-Net", *summary(denoiser), *description.lines]
    config = dataclasses.asdict(description.model) | dataclasses.asdict(description.diffusion)
    return Source(about, file_digest(path, "sha256"), denoiser, load_denoiser, config=config)


def summary(denoiser: Denoiser, conditions: str = "classes") -> list[str]:
    """Return a human-readable description of a denoiser and its kind of conditions, one line per aspect."""
    channels, height, width = denoiser.shape
    kind = "codes" if denoiser.decode else "images"
    classes = f", {denoiser.num_classes:,} {conditions}" if denoiser.num_classes else ""
    clips = "is clipped to [−1, 1]" if denoiser.clip else "is not clipped"
    names = {"eps": "ε", "x_0": "x_0", "v": "v", "velocity": "the velocity ε − x_0"}
    is_flow = denoiser.prediction_type == "velocity"
    process = "flow matching" if is_flow else f"{len(denoiser.levels):,} diffusion steps"
    return [
        f"{kind} of {channels} × {height} × {width}{classes}",
        f"{process}, predicts {names[denoiser.prediction_type]}, x_0 {clips}",
    ]


def check_ddim_steps(source: Source, ddim_steps: int) -> None:
    """Raise UserError if the model does not support a number of DDIM steps."""
    levels = source.denoiser.levels
    if ddim_steps > len(levels):
        raise UserError(f"T = {ddim_steps:,} DDIM steps exceed the {len(levels):,} diffusion steps of the model")
    try:
        source.spacing.sampling(levels, ddim_steps)
        source.spacing.inversion(levels, ddim_steps)
    except Exception as error:  # types of diffusers' schedulers, which do not check their configurations
        raise UserError(f"T = {ddim_steps:,}: {first_line(error)}") from None


def add_call_hook(denoiser: Denoiser, hook: Callable[[int], Any]) -> Denoiser:
    """Return the denoiser with a hook that gets the number of evaluations, one or two per image, after every call."""

    def network(x_t, t, y):
        output = denoiser.network(x_t, t, y)
        hook(len(x_t) * denoiser.evaluations_per_call)
        return output

    return dataclasses.replace(denoiser, network=network)
