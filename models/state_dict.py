"""State dicts that other programs wrote, or that we write for them: tensors by name, and nothing that is executed."""

import pickle
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from configs.errors import UserError, first_line

NAMES_SHOWN = 3


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a .pt or .safetensors file. Raises UserError where it cannot be read or holds anything else."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        with open(path, "rb") as file:
            is_pickle = file.read(2).startswith((b"PK", b"\x80"))
        if not is_pickle:
            raise UserError(f"{path} cannot be read as a state dict: it is no file that torch.save wrote") from None
        raise UserError(f"{path} holds more than tensors and is not opened; save its state_dict() alone") from None
    except Exception as error:  # whatever PyTorch's reader fails with on a file that is something else
        raise UserError(f"{path} cannot be read as a state dict: {first_line(error)}") from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise UserError(f"{path} is not a state dict: a dictionary of tensors by name is expected")
    return content


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Loads weights into a network. Raises UserError where they do not fit."""
    check_fit(network, weights, source)
    network.load_state_dict(weights)


def check_fit(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Raises UserError that tells, shortly, which names and shapes are not those of the network."""
    own = network.state_dict()
    wrong_shape = [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    shapes = (f"{name} ({list(weights[name].shape)} for {list(own[name].shape)})" for name in wrong_shape)
    if told := misfits(own.keys() - weights.keys(), weights.keys() - own.keys(), shapes):
        raise UserError(f"{source} does not fit the network: {told}")


def misfits(missing: Iterable[str], unexpected: Iterable[str], of_another_shape: Iterable[str]) -> str:
    """What does not fit, a few names of each kind; "" where there is nothing."""
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": of_another_shape}
    return "; ".join(f"{_shortly(sorted(names))} {what}" for what, found in problems.items() if (names := list(found)))


def _shortly(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
