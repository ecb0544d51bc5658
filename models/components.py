"""Components of a pipeline folder of diffusers: its index, networks and schedulers."""

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError, first_line
from models.state_dict import mismatch_message

INDEX = "model_index.json"


def is_pipeline(folder: Path) -> bool:
    """Return whether a folder contains a pipeline of diffusers."""
    return (folder / INDEX).is_file()


def read_index(folder: Path) -> tuple[str, dict[str, str]]:
    """Return the class name of a pipeline, and those of its components by name. Raises UserError if it is damaged."""
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        components = {name: entry[1] for name, entry in index.items() if isinstance(entry, list) and entry[1]}
        return index.get("_class_name", ""), components
    except (OSError, ValueError, LookupError, AttributeError) as error:
        raise UserError(f"{folder / INDEX} cannot be read: {first_line(error)}") from None


def load_model(folder: Path, name: str, components: dict[str, str], supported: tuple[str, ...]) -> Any:
    """Return a network in float32 on the CPU. Raises UserError if it is missing, damaged or of another class."""
    kind, path = components.get(name), component_folder(folder, name)
    if kind not in supported:
        raise UserError(f"{folder}: its {name} is {kind or 'missing'}; only {', '.join(supported)} is supported")
    try:
        loader = getattr(import_diffusers(), kind)
        model, info = loader.from_pretrained(path, output_loading_info=True, local_files_only=True)
    except Exception as error:  # types of safetensors, pickle, diffusers and PyTorch
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None
    if message := mismatch_message(info["missing_keys"], info["unexpected_keys"], map(str, info["mismatched_keys"])):
        raise UserError(f"{path} does not fit {kind}: {message}")
    return model.requires_grad_(False).eval().float()


def load_scheduler(folder: Path, components: dict[str, str]) -> Any:
    """Return the pipeline's own scheduler. Raises UserError if it cannot be opened."""
    path, kind = component_folder(folder, "scheduler"), components.get("scheduler", "")
    scheduler_class = getattr(import_diffusers(), kind, None)
    if scheduler_class is None:
        raise UserError(f'{folder}: its scheduler "{kind}" does not exist in diffusers')
    try:
        return scheduler_class.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise UserError(f"{path} cannot be opened as {kind}: {first_line(error)}") from None


def component_folder(folder: Path, name: str) -> Path:
    """Return a component's folder: a subfolder with its name, or the pipeline's folder in the oldest pipelines."""
    return folder / name if (folder / name).is_dir() else folder


def import_diffusers() -> Any:
    """Return the module diffusers. Raises UserError if it is not installed."""
    try:
        import diffusers
    except ImportError:
        raise UserError("pipelines of diffusers require an extra: pip install 'noisemap[diffusers]'") from None
    diffusers.utils.logging.set_verbosity_error()
    return diffusers
