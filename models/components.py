"""Components of a pipeline folder of diffusers: its index, networks and schedulers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError, first_line
from models.state_dict import mismatch_message
from records.atomic import read_json

INDEX = "model_index.json"
MAX_NUMBER = 10**7  # in a configuration; larger ones would take minutes or gigabytes before they are found not to fit
UNUSED = {"lambda_min_clipped"}  # of DPM-Solver: −∞ by default
MAX_NUMBERS = {"layers": 1_000, "size": 16_384, "timesteps": 100_000}  # of options with these parts of names


def is_pipeline(folder: Path) -> bool:
    """Return whether a folder contains a pipeline of diffusers."""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the class name of a pipeline, and those of its components by name. Raises UserError if it is damaged."""
    try:
        index = read_json(folder / INDEX)
        components = {name: str(entry[1]) for name, entry in index.items() if isinstance(entry, list) and entry[1]}
        return str(index.get("_class_name", "")), components
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise UserError(f"{folder / INDEX} cannot be read: {first_line(error)}") from None


def load_model(folder: Path, name: str, components: dict[str, str], supported: tuple[str, ...]) -> Any:
    """Return a network in float32 on the CPU. Raises UserError if it is missing, damaged or of another class."""
    kind, path = components.get(name), component_folder(folder, name)
    if kind not in supported:
        raise UserError(f"{folder}: its {name} is {kind or 'missing'}; only {', '.join(supported)} is supported")
    try:
        check_numbers(path / "config.json")
        loader = getattr(import_diffusers(), kind)
        check_size(path, loader)
        model, info = loader.from_pretrained(path, output_loading_info=True, local_files_only=True)
    except Exception as error:  # types of safetensors, pickle, diffusers and PyTorch
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None
    if message := mismatch_message(info["missing_keys"], info["unexpected_keys"], map(str, info["mismatched_keys"])):
        raise UserError(f"{path} does not fit {kind}: {message}")
    return model.requires_grad_(False).eval().float()


def load_scheduler(folder: Path, components: dict[str, str]) -> Any:
    """Return the pipeline's own scheduler. Raises UserError if it cannot be opened."""
    path, kind = component_folder(folder, "scheduler"), components.get("scheduler", "")
    diffusers = import_diffusers()
    scheduler_class: Any = getattr(diffusers, kind, None)
    is_scheduler = isinstance(scheduler_class, type) and issubclass(scheduler_class, diffusers.SchedulerMixin)
    if not is_scheduler:
        raise UserError(f'{folder}: its scheduler "{kind}" does not exist in diffusers')
    try:
        check_numbers(path / "scheduler_config.json")
        scheduler = scheduler_class.from_pretrained(path, local_files_only=True)
        if (betas := getattr(scheduler, "betas", None)) is not None and betas.ndim != 1:
            raise ValueError("trained_betas is not a list of numbers")
        return scheduler
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None


def check_numbers(file: Path) -> None:
    """Raise ValueError if the configuration of a component contains an absurd number."""
    for name, value in read_json(file).items():
        if name in UNUSED:
            continue
        limit = next((limit for part, limit in MAX_NUMBERS.items() if part in name), MAX_NUMBER)
        for number in _numbers(value):
            if not abs(number) <= limit:
                raise ValueError(f"{file.name} has {name}={number}; at most {limit:,} is supported")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)):
        yield value


def check_size(path: Path, loader: Any) -> None:
    """Raise ValueError if a network has more parameters than its files have bytes; nothing is allocated."""
    with torch.device("meta"):
        network = loader.from_config(loader.load_config(path))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    size = sum(file.stat().st_size for file in path.iterdir() if file.suffix in (".safetensors", ".bin"))
    if parameters > size:
        raise ValueError(f"its configuration describes {parameters:,} parameters, but its files have {size:,} bytes")


def component_folder(folder: Path, name: str) -> Path:
    """Return a component's folder: a subfolder with its name, or the pipeline's folder in the oldest pipelines."""
    return folder / name if (folder / name).is_dir() else folder


def import_diffusers() -> Any:
    """Return the module diffusers. Raises UserError if it is not installed."""
    try:
        import diffusers
    except ImportError:
        raise UserError("pipelines of diffusers require an extra: pip install -e '.[diffusers]' in the clone") from None
    diffusers.utils.logging.set_verbosity_error()
    return diffusers
