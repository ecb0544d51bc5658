"""State dicts of other programs: tensors by name, read without executing any code."""

import pickle
import zipfile
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from configs.errors import UserError, first_line
from records.pickle_limits import check_pickle

NAMES_SHOWN = 3
PROTOCOL = b"\x80"  # first byte of a pickle
LEGACY_PICKLES = 5  # in files of torch.save before PyTorch 1.6; the values of the tensors follow


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .pt or .safetensors file.

    Raises UserError if the file cannot be read or contains anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        _check_pickles(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        with open(path, "rb") as file:
            is_pickle = file.read(2).startswith((b"PK", b"\x80"))
        if not is_pickle:
            raise UserError(f"{path} cannot be read as a state dict: it was not written by torch.save") from None
        raise UserError(
            f"{path} contains more than tensors and is not opened; save only the state_dict() of the network"
        ) from None
    except Exception as error:  # PyTorch's reader raises many types for files of other formats
        raise UserError(f"{path} cannot be read as a state dict: {first_line(error)}") from None
    if not isinstance(content, dict) or not all(_is_named_tensor(*item) for item in content.items()):
        raise UserError(f"{path} is not a state dict, which is a dictionary of tensors by name")
    return content


def _check_pickles(path: Path) -> None:
    """Raise ValueError if a pickle in a file of torch.save exceeds the limits."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.filename.endswith(".pkl"):
                    with archive.open(member) as file:
                        check_pickle(file, member.file_size)
        return
    size = path.stat().st_size
    with open(path, "rb") as file:
        for _ in range(LEGACY_PICKLES):
            start = file.tell()
            is_pickle = file.read(1) == PROTOCOL
            file.seek(start)
            if is_pickle:
                check_pickle(file, size)


def _is_named_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Load weights into a network. Raises UserError if they do not fit."""
    check_fit(network, weights, source)
    network.load_state_dict(weights)


def check_fit(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Raise UserError with the names and shapes that differ if the weights do not fit the network."""
    expected = network.state_dict()
    mismatched = [name for name in expected.keys() & weights.keys() if expected[name].shape != weights[name].shape]
    shapes = (f"{name} ({list(weights[name].shape)} instead of {list(expected[name].shape)})" for name in mismatched)
    if message := mismatch_message(expected.keys() - weights.keys(), weights.keys() - expected.keys(), shapes):
        raise UserError(f"{source} does not fit the network: {message}")


def mismatch_message(missing: Iterable[str], unexpected: Iterable[str], mismatched: Iterable[str]) -> str:
    """Return an error message with a few names of each kind, or "" if there are no names."""
    problems = {"missing": sorted(missing), "unexpected": sorted(unexpected), "wrong shape": sorted(mismatched)}
    return "; ".join(f"{kind}: {_shorten(names)}" for kind, names in problems.items() if names)


def _shorten(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
