"""A model that others trained, wherever it is and whatever it is → a denoiser."""

import dataclasses
import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError
from configs.schema import ModelStudy
from diffusion.denoiser import Denoiser
from diffusion.solvers.spacing import StridedSpacing, TimestepSpacing
from models.open import open_checkpoint_folder
from models.openai import open_openai
from models.openai_presets import PRESETS
from models.pipelines import downloaded as pipeline_downloaded
from models.pipelines import is_pipeline, open_pipeline, timestep_spacing
from records import checkpoint
from records.atomic import file_digest
from records.download import download

WEIGHTS = (".pt", ".pth", ".safetensors")


@dataclass(frozen=True)
class Source:
    """A model on this machine.

    `about` says what it is, a line each; `digest` differs whenever its numbers would; `denoiser` is it on the CPU, to
    be looked at, and `load_denoiser` opens it on a device.
    """

    about: list[str]
    digest: str
    denoiser: Denoiser
    load_denoiser: Callable[[torch.device], Denoiser]
    spacing: TimestepSpacing = StridedSpacing()


def find(study: ModelStudy) -> Path:
    """Where the model of a study is on this machine; a published one is fetched if need be.

    Raises UserError where there is none.
    """
    path = Path(study.source)
    if path.exists():
        return path
    if path.stem in PRESETS and path.name == study.source:
        return download(PRESETS[path.stem].url, None, Path(study.downloads), "source")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", study.source) and path.suffix not in WEIGHTS:
        return pipeline_downloaded(study.source)
    raise UserError(f"{study.source}: no such file or folder, and not the name of a published model")


def open_source(study: ModelStudy) -> Source:
    """The model of a study, opened once to see that it can be. Raises UserError where it cannot."""
    path = find(study)
    if (path / "checkpoint.json").is_file():
        return _checkpoint(path, study.analyze.weights)
    if path.is_dir() and is_pipeline(path):
        return _pipeline(path, study.vae_scaling_factor)
    if path.is_file():
        return _openai(path, study)
    raise UserError(f"{path} is neither a checkpoint folder, nor a pipeline of diffusers, nor a file of weights")


def _checkpoint(path: Path, weights: str) -> Source:
    opened = checkpoint.read(path)
    about = [f"checkpoint of step {opened.step:,} and seed {opened.seed}, weights {weights}"]

    def load_denoiser(device: torch.device) -> Denoiser:
        return open_checkpoint_folder(path, weights, device)

    denoiser = load_denoiser(torch.device("cpu"))
    return Source([*about, *summary(denoiser)], opened.digests[weights], denoiser, load_denoiser)


def _pipeline(path: Path, vae_scaling_factor: float | None) -> Source:
    def load_denoiser(device: torch.device) -> Denoiser:
        return open_pipeline(path, vae_scaling_factor, device)

    denoiser = load_denoiser(torch.device("cpu"))
    about = ["pipeline of diffusers", *summary(denoiser)]
    files = sorted(file for file in path.rglob("*") if file.suffix in (*WEIGHTS, ".bin", ".json"))
    told = "".join(f"{file.relative_to(path)} {file_digest(file, 'sha256')}\n" for file in files)
    return Source(about, hashlib.sha256(told.encode()).hexdigest(), denoiser, load_denoiser, timestep_spacing(path))


def _openai(path: Path, study: ModelStudy) -> Source:
    def load_denoiser(device: torch.device) -> Denoiser:
        return open_openai(path, study.openai, device)[0]

    denoiser, described = open_openai(path, study.openai, torch.device("cpu"))
    about = ["OpenAI's U-Net", *summary(denoiser), *described.lines]
    return Source(about, file_digest(path, "sha256"), denoiser, load_denoiser)


def summary(denoiser: Denoiser) -> list[str]:
    """What a denoiser is, for people."""
    channels, height, width = denoiser.shape
    kind = "codes" if denoiser.decode else "images"
    classes = f", {denoiser.num_classes:,} classes" if denoiser.num_classes else ""
    clips = "is clipped to [−1, 1]" if denoiser.clip else "is not clipped"
    names = {"eps": "ε", "x_0": "x_0", "v": "v"}
    return [
        f"{kind} of {channels} × {height} × {width}{classes}",
        f"{len(denoiser.levels):,} steps of diffusion, predicts {names[denoiser.prediction_type]}, x_0 {clips}",
    ]


def check_ddim_steps(source: Source, ddim_steps: int) -> None:
    """Raise UserError if DDIM cannot take that number of steps with the model."""
    levels = source.denoiser.levels
    if ddim_steps > len(levels):
        raise UserError(f"T = {ddim_steps:,} DDIM steps exceed the {len(levels):,} diffusion steps of the model")
    try:
        source.spacing.sampling(levels, ddim_steps)
        source.spacing.inversion(levels, ddim_steps)
    except ValueError as error:
        raise UserError(f"T = {ddim_steps:,}: {error}") from None


def add_call_hook(denoiser: Denoiser, called: Callable[[int], Any]) -> Denoiser:
    """The same denoiser, which tells the number of images of every call of its network."""

    def network(x_t, t, y):
        output = denoiser.network(x_t, t, y)
        called(len(x_t))
        return output

    return dataclasses.replace(denoiser, network=network)
