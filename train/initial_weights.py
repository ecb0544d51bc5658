"""Weights that a training starts from, when it does not start at random."""

from pathlib import Path

from configs.errors import UserError
from models.state_dict import load_strictly, read_state_dict
from models.unet import UNet
from records import checkpoint


def initial_weights(network: UNet, source: str) -> None:
    """Loads a checkpoint folder's raw weights, or a .pt or .safetensors state dict with improved-diffusion's names.

    Raises UserError where the source is not there, cannot be read or does not fit the network.
    """
    path = Path(source)
    if not path.exists():
        raise UserError(f"train.init_from={source}: no such file or folder")
    weights = checkpoint.read(path).weights("model") if path.is_dir() else read_state_dict(path)
    load_strictly(network, weights, path)
