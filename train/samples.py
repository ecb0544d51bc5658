"""Grids of samples drawn during training, always from the same noise."""

from pathlib import Path

import torch
from PIL.Image import Image
from torch import Tensor

from configs.schema import Experiment
from diffusion.eager import eager
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models.open import as_denoiser
from models.unet import UNet
from records.atomic import write_bytes
from records.pictures import grid, to_png
from train.ema import Ema

GRID_COLUMNS, GRID_IMAGES = 8, 32


def write_sample_grid(file: Path, experiment: Experiment, network: UNet, ema: Ema, device: torch.device) -> None:
    """Write a PNG of samples from the EMA weights, started from the first x_T of the analysis."""
    # The averages in evaluation mode would compile the network a second time.
    with eager():
        write_bytes(file, to_png(_sample_grid(experiment, network, ema, device)))


@torch.no_grad()
def _sample_grid(experiment: Experiment, network: UNet, ema: Ema, device: torch.device) -> Image:
    model, diffusion, options = experiment.model, experiment.diffusion, experiment.analyze

    def ema_network(x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return torch.func.functional_call(network, ema.weights, (x_t, t, y))

    denoiser = as_denoiser(ema_network, model, diffusion, device)
    x_T = fixed_noise(denoiser.shape, GRID_IMAGES, options.noise_seed).to(device)
    network.eval()
    try:
        y = denoiser.labels(0, GRID_IMAGES, options.labels)
        x_0 = final_state(Ddim(options.ddim_steps, clip=options.clip_denoised).sample(denoiser, x_T, y))
    finally:
        network.train()
    return grid(x_0.float().cpu(), GRID_COLUMNS)
