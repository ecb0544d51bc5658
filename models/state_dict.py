"""State dicts of other programs: tensors by name, read without executing any code."""

import pickle
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from configs.errors import UserError, first_line

NAMES_SHOWN = 3


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .pt or .safetensors file.

    Raises UserError if the file cannot be read or contains anything else.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
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
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} is not a state dict, which is a dictionary of tensors by name")
    return content


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
