"""Checkpoint folders, which training writes and analysis reads; a folder with its final name is complete.

checkpoints/000002500/  model.safetensors  ema_0.9999.safetensors  checkpoint.json
"""

import dataclasses
import itertools
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from configs.checks import diffusion_problems, network_problems
from configs.errors import UserError, first_line
from configs.schema import Data, Diffusion, Model
from records.atomic import atomic_folder, file_digest
from records.provenance import versions
from records.sealed import read_sealed, write_sealed

Weights = dict[str, Tensor]


class DamagedCheckpoint(UserError):
    """A checkpoint that is incomplete or differs from the written one, or whose cause is the error of reading it."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of `checkpoint.json`; tensors are read on demand."""

    path: Path
    step: int
    seed: int
    model: Model
    diffusion: Diffusion
    digests: dict[str, str]  # SHA-256 of each weights file, by the name of the weights

    def weights(self, name: str) -> Weights:
        """Load the tensors of "model" or "ema_<rate>". Raises DamagedCheckpoint if the file has changed."""
        if name not in self.digests:
            raise UserError(f'{self.path} contains no weights "{name}", only {", ".join(self.digests)}')
        self.check(name)
        try:
            return load_file(self._file(name))
        except (OSError, SafetensorError, struct.error) as error:
            raise DamagedCheckpoint(f"{self._file(name)} cannot be read: {error}") from error

    def check(self, name: str) -> None:
        """Compare a weights file with its digest. Raises DamagedCheckpoint if it is missing or has changed."""
        file = self._file(name)
        try:
            is_intact = file_digest(file) == self.digests[name]
        except OSError as error:
            raise DamagedCheckpoint(f"{file} cannot be read: {error}") from error
        if not is_intact:
            raise DamagedCheckpoint(f"{file} is damaged: its digest differs from the one in checkpoint.json")

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.safetensors"


def write(
    path: Path,
    step: int,
    seed: int,
    model: Model,
    diffusion: Diffusion,
    weights: dict[str, Weights],
    data: Data | None = None,
) -> None:
    """Write a checkpoint folder atomically; `weights` contains the sets of weights by name.

    The options of `data` that a run may not change are recorded; None: the training images are unknown.
    """
    with atomic_folder(path) as folder:
        for name, tensors in weights.items():
            on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            # safetensors' save_file creates files that only their owner can read.
            (folder / f"{name}.safetensors").write_bytes(save(on_cpu))
        content = {
            "step": step,
            "seed": seed,
            "model": dataclasses.asdict(model),
            "diffusion": dataclasses.asdict(diffusion),
            "data": data and _fixed_options(data),
            "digests": {name: file_digest(folder / f"{name}.safetensors") for name in weights},
            "versions": versions(),
        }
        write_sealed(folder / "checkpoint.json", content)


def read(path: Path) -> Checkpoint:
    """Open the checkpoint in a folder. Raises DamagedCheckpoint if checkpoint.json is missing or invalid."""
    file = path / "checkpoint.json"
    try:
        content = read_sealed(file)
        opened = Checkpoint(
            path=path,
            step=int(content["step"]),
            seed=int(content["seed"]),
            model=_typed(Model, content["model"]),
            diffusion=_typed(Diffusion, content["diffusion"]),
            digests=dict(content["digests"]),
        )
    except OSError as error:
        raise DamagedCheckpoint(f"{file} cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OmegaConfBaseException) as error:
        raise DamagedCheckpoint(f"{file} is damaged: {first_line(error)}") from None
    for problem in itertools.chain(network_problems(opened.model), diffusion_problems(opened.diffusion)):
        raise DamagedCheckpoint(f"{file} is damaged: {problem}")
    return opened


def _typed(kind: type, values: dict) -> Any:
    required = {field.name for field in dataclasses.fields(kind) if not field.metadata["added"]}
    if missing := required - values.keys():  # a default could silently describe another network
        raise KeyError(f"{kind.__name__} has no {', '.join(sorted(missing))}")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), values))


def _fixed_options(data: Data) -> dict[str, Any]:
    """Return the options that describe the training images, independent of the machine."""
    fixed = [field.name for field in dataclasses.fields(data) if not field.metadata["may_change"]]
    return {name: getattr(data, name) for name in fixed}
