"""A grid of samples from always the same noise, to see training go on."""

import torch
from PIL.Image import Image
from torch import Tensor

from configs.schema import Experiment
from diffusion.randomness import fixed_noise
from diffusion.solvers import ddim
from models.open import as_denoiser
from models.unet import UNet
from records.pictures import grid
from train.ema import Ema

COLUMNS, IMAGES = 8, 32


@torch.no_grad()
def sample_grid(experiment: Experiment, network: UNet, ema: Ema, device: torch.device) -> Image:
    """What the averaged weights make of the first of the noises x_T that the analysis starts from as well."""
    model, diffusion, options = experiment.model, experiment.diffusion, experiment.analyze

    def averaged(x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return torch.func.functional_call(network, ema.weights, (x_t, t, y))

    denoiser = as_denoiser(averaged, model, diffusion, device)
    x_T = fixed_noise(denoiser.shape, IMAGES, options.noise_seed).to(device)
    network.eval()
    try:
        y = denoiser.labels(0, IMAGES, options.labels)
        x_0 = ddim.last(ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y))
    finally:
        network.train()
    return grid(x_0.float().cpu(), COLUMNS)
