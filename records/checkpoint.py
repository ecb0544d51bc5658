"""A checkpoint folder: what training writes and analysis reads; complete when it has its name.

checkpoints/000002500/  model.safetensors  ema_0.9999.safetensors  checkpoint.json
"""

import dataclasses
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from configs.errors import UserError, first_line
from configs.schema import Diffusion, Model
from records.atomic import atomic_folder, file_digest, write_json
from records.provenance import versions

Weights = dict[str, Tensor]


class DamagedCheckpoint(UserError):
    """A checkpoint that is incomplete or not what was written."""


@dataclass(frozen=True)
class Checkpoint:
    """What `checkpoint.json` says of a checkpoint folder, its tensors not yet read."""

    path: Path
    step: int
    seed: int
    model: Model
    diffusion: Diffusion
    digests: dict[str, str]  # of each weights file, by the name of the weights

    def weights(self, name: str) -> Weights:
        """The tensors of "model" or "ema_<rate>". Raises DamagedCheckpoint where they are not as written."""
        file = self.path / f"{name}.safetensors"
        if name not in self.digests:
            raise UserError(f'{self.path}: holds no weights "{name}", only {", ".join(self.digests)}')
        try:
            if file_digest(file) != self.digests[name]:
                raise DamagedCheckpoint(f"{file} is damaged: its digest is not the one in checkpoint.json")
            return load_file(file)
        except (OSError, SafetensorError, struct.error) as error:
            raise DamagedCheckpoint(f"{file} cannot be read: {error}") from None


def write(path: Path, step: int, seed: int, model: Model, diffusion: Diffusion, weights: dict[str, Weights]) -> None:
    """A checkpoint folder at `path` with every set of weights, by name; appears whole or not at all."""
    with atomic_folder(path) as folder:
        for name, tensors in weights.items():
            on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            # Written as bytes: save_file makes files that only their owner may read.
            (folder / f"{name}.safetensors").write_bytes(save(on_cpu))
        about = {
            "step": step,
            "seed": seed,
            "model": dataclasses.asdict(model),
            "diffusion": dataclasses.asdict(diffusion),
            "digests": {name: file_digest(folder / f"{name}.safetensors") for name in weights},
            "versions": versions(),
        }
        write_json(folder / "checkpoint.json", about)


def read(path: Path) -> Checkpoint:
    """The checkpoint in a folder. Raises DamagedCheckpoint where its description is missing or makes no sense."""
    file = path / "checkpoint.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        return Checkpoint(
            path=path,
            step=int(about["step"]),
            seed=int(about["seed"]),
            model=_typed(Model, about["model"]),
            diffusion=_typed(Diffusion, about["diffusion"]),
            digests=dict(about["digests"]),
        )
    except OSError as error:
        raise DamagedCheckpoint(f"{file} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, OmegaConfBaseException) as error:
        raise DamagedCheckpoint(f"{file} is damaged: {first_line(error)}") from None


def _typed(kind: type, values: dict) -> Any:
    needed = {field.name for field in dataclasses.fields(kind) if not field.metadata["added"]}
    if absent := needed - values.keys():  # a default would quietly make another network
        raise KeyError(f"{kind.__name__} lacks {', '.join(sorted(absent))}")
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), values))
