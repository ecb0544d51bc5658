"""Denoisers from checkpoints, state dicts and networks."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from configs.schema import Diffusion, Model
from diffusion.denoiser import Denoiser
from diffusion.losses import network_time_scale
from diffusion.schedule import Schedule
from models.state_dict import check_fit, load_weights
from models.unet import UNet
from records import checkpoint


def open_checkpoint(path: Path, weights: str, device: torch.device) -> Denoiser:
    """Open weights ("model" or "ema_<rate>") of the checkpoint in a folder as a denoiser on a device.

    Raises DamagedCheckpoint if they cannot be read, and UserError if they do not exist or do not fit the network.
    """
    opened = checkpoint.read(path)
    return open_weights(opened.weights(weights), path / weights, opened.model, opened.diffusion, device)


def open_weights(
    weights: dict[str, Tensor], source: Path, model: Model, diffusion: Diffusion, device: torch.device
) -> Denoiser:
    """Open weights read from `source` as a denoiser. Raises UserError if they do not fit the network."""
    with torch.device("meta"):
        check_fit(UNet.from_config(model, diffusion), weights, source)  # a damaged file may describe a huge network
    network = UNet.from_config(model, diffusion)
    load_weights(network, weights, source)
    network.requires_grad_(False).eval().to(device)
    return as_denoiser(network, model, diffusion, device)


def as_denoiser(
    network: Callable[[Tensor, Tensor, Tensor | None], Tensor],
    model: Model,
    diffusion: Diffusion,
    device: torch.device,
) -> Denoiser:
    """Return a network of this model, trained under this diffusion, as a denoiser."""
    schedule = Schedule.from_config(diffusion)
    return Denoiser(
        network=network,
        levels=schedule.levels,
        shape=(model.in_channels, model.image_size, model.image_size),
        timestep_scale=network_time_scale(schedule, diffusion.rescale_timesteps),
        num_classes=model.num_classes,
        device=device,
    )
