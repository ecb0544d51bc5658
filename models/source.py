"""Pretrained models of all supported kinds: checkpoint folders, OpenAI's files and pipelines of diffusers."""

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
from models.open import open_checkpoint
from models.openai import open_openai
from models.openai_presets import PRESETS
from models.pipelines import download_pipeline, is_pipeline, open_pipeline, timestep_spacing
from records import checkpoint
from records.atomic import file_digest
from records.download import download

WEIGHTS = (".pt", ".pth", ".safetensors")


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
    load_denoiser: Callable[[torch.device], Denoiser]
    spacing: TimestepSpacing = StridedSpacing()
    config: dict[str, Any] = dataclasses.field(default_factory=dict)


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


def open_source(study: ModelStudy) -> Source:
    """Open the model of a study on the CPU. Raises UserError if it cannot be opened."""
    path = find_model(study)
    if (path / "checkpoint.json").is_file():
        return _checkpoint(path, study.analyze.weights)
    if path.is_dir() and is_pipeline(path):
        return _pipeline(path, study.vae_scaling_factor)
    if path.is_file():
        return _openai(path, study)
    raise UserError(f"{path} is neither a checkpoint folder, a pipeline of diffusers nor a file of weights")


def _checkpoint(path: Path, weights: str) -> Source:
    saved = checkpoint.read(path)
    about = [f"checkpoint of step {saved.step:,} and seed {saved.seed}, weights {weights}"]

    def load_denoiser(device: torch.device) -> Denoiser:
        return open_checkpoint(path, weights, device)

    denoiser = load_denoiser(torch.device("cpu"))
    config = dataclasses.asdict(saved.model) | dataclasses.asdict(saved.diffusion)
    return Source([*about, *summary(denoiser)], saved.digests[weights], denoiser, load_denoiser, config=config)


def _pipeline(path: Path, vae_scaling_factor: float | None) -> Source:
    def load_denoiser(device: torch.device) -> Denoiser:
        return open_pipeline(path, vae_scaling_factor, device)

    denoiser = load_denoiser(torch.device("cpu"))
    about = ["pipeline of diffusers", *summary(denoiser)]
    files = sorted(file for file in path.rglob("*") if file.suffix in (*WEIGHTS, ".bin", ".json"))
    listing = "".join(f"{file.relative_to(path)} {file_digest(file, 'sha256')}\n" for file in files)
    return Source(about, hashlib.sha256(listing.encode()).hexdigest(), denoiser, load_denoiser, timestep_spacing(path))


def _openai(path: Path, study: ModelStudy) -> Source:
    def load_denoiser(device: torch.device) -> Denoiser:
        return open_openai(path, study.openai, device)[0]

    denoiser, description = open_openai(path, study.openai, torch.device("cpu"))
    about = ["OpenAI's U-Net", *summary(denoiser), *description.lines]
    config = dataclasses.asdict(description.model) | dataclasses.asdict(description.diffusion)
    return Source(about, file_digest(path, "sha256"), denoiser, load_denoiser, config=config)


def summary(denoiser: Denoiser) -> list[str]:
    """Return a human-readable description of a denoiser, one line per aspect."""
    channels, height, width = denoiser.shape
    kind = "codes" if denoiser.decode else "images"
    classes = f", {denoiser.num_classes:,} classes" if denoiser.num_classes else ""
    clips = "is clipped to [−1, 1]" if denoiser.clip else "is not clipped"
    names = {"eps": "ε", "x_0": "x_0", "v": "v"}
    return [
        f"{kind} of {channels} × {height} × {width}{classes}",
        f"{len(denoiser.levels):,} diffusion steps, predicts {names[denoiser.prediction_type]}, x_0 {clips}",
    ]


def check_ddim_steps(source: Source, ddim_steps: int) -> None:
    """Raise UserError if the model does not support a number of DDIM steps."""
    levels = source.denoiser.levels
    if ddim_steps > len(levels):
        raise UserError(f"T = {ddim_steps:,} DDIM steps exceed the {len(levels):,} diffusion steps of the model")
    try:
        source.spacing.sampling(levels, ddim_steps)
        source.spacing.inversion(levels, ddim_steps)
    except ValueError as error:
        raise UserError(f"T = {ddim_steps:,}: {error}") from None


def add_call_hook(denoiser: Denoiser, hook: Callable[[int], Any]) -> Denoiser:
    """Return the denoiser with a hook that gets the batch size after every call of the network."""

    def network(x_t, t, y):
        output = denoiser.network(x_t, t, y)
        hook(len(x_t))
        return output

    return dataclasses.replace(denoiser, network=network)
