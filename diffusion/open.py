"""A checkpoint on disk → a Denoiser."""

import torch

from configs.errors import UserError
from diffusion.denoiser import Denoiser
from diffusion.losses import network_time_scale
from diffusion.schedule import Schedule
from diffusion.unet import UNet
from records.checkpoint import Checkpoint


def open_checkpoint(checkpoint: Checkpoint, weights: str, device: torch.device) -> Denoiser:
    """The denoiser of a checkpoint's weights, "model" or "ema_<rate>", ready on a device.

    Raises DamagedCheckpoint where the weights cannot be read and UserError where they are not this network's.
    """
    network = UNet.of(checkpoint.model, checkpoint.diffusion)
    try:
        network.load_state_dict(checkpoint.weights(weights))
    except RuntimeError as error:
        raise UserError(f"{checkpoint.path}: {weights} does not fit the network: {first_lines(error)}") from None
    model, schedule = checkpoint.model, Schedule.of(checkpoint.diffusion)
    return Denoiser(
        network=network.requires_grad_(False).eval().to(device),
        alphas_cumprod=schedule.alphas_cumprod,
        shape=(model.in_channels, model.image_size, model.image_size),
        timestep_scale=network_time_scale(schedule, checkpoint.diffusion.rescale_timesteps),
        num_classes=model.num_classes,
        device=device,
    )


def first_lines(error: Exception, count: int = 4) -> str:
    lines = str(error).split("\n")
    more = f" … and {len(lines) - count} more" if len(lines) > count else ""
    return " ".join(line.strip() for line in lines[:count]) + more
