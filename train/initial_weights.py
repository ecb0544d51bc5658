"""Initial weights from a file or checkpoint, instead of random ones."""

from pathlib import Path

from configs.errors import UserError
from models.state_dict import load_weights, read_state_dict
from models.unet import UNet
from records import checkpoint


def load_initial_weights(network: UNet, source: str) -> None:
    """Load the raw weights of a checkpoint folder, or a .pt or .safetensors state dict with improved-diffusion's keys.

    Raises UserError if the source does not exist, cannot be read or does not fit the network.
    """
    path = Path(source)
    if not path.exists():
        raise UserError(f"train.init_from={source} does not exist; give a checkpoint folder or a state dict file")
    weights = checkpoint.read(path).weights("model") if path.is_dir() else read_state_dict(path)
    load_weights(network, weights, path)
