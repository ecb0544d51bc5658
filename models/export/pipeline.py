"""Checkpoints as pipeline folders of diffusers, with a model card."""

import math
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from configs.errors import UserError
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from models.components import import_diffusers
from models.export.card import WEIGHTS_FILE, model_card
from models.export.unet2d import to_unet2d
from models.open import open_checkpoint
from models.unet import UNet
from records import checkpoint
from records.atomic import atomic_folder, write_text

Sampler = Literal["ddim", "ddpm"]

TOLERANCE = 1e-4  # largest difference of the networks' outputs, relative to the largest output


def export_pipeline(source: Path, out: Path, weights: str | None = None, sampler: Sampler = "ddim") -> Path:
    """Write weights of a checkpoint folder as a pipeline folder of diffusers with a model card; return the folder.

    `weights` None selects the slowest moving average. "ddim" writes a DDIMPipeline of the predicted noise, because
    diffusers' DDIM does not accept the outputs of a learned variance. "ddpm" writes a DDPMPipeline with all outputs.
    Raises UserError if the folder exists, the weights do not exist or diffusers cannot represent the network.
    """
    if out.exists():
        raise UserError(f"{out} already exists; choose another folder or remove it")
    opened = checkpoint.read(source)
    weights = weights or default_weights(opened)
    denoiser = open_checkpoint(source, weights, torch.device("cpu"))
    pipeline = to_pipeline(denoiser, opened.diffusion, sampler)
    with atomic_folder(out) as folder:
        pipeline.save_pretrained(folder)
        # safetensors creates files that only their owner can read.
        (folder / WEIGHTS_FILE).chmod((folder / "model_index.json").stat().st_mode)
        write_text(folder / "README.md", model_card(source, weights, folder))
    return out


def default_weights(opened: checkpoint.Checkpoint) -> str:
    """Return the name of the moving average with the highest rate, or "model" if there is none."""
    averages = [name for name in opened.digests if name.startswith("ema_")]
    return max(averages, key=lambda name: float(name.removeprefix("ema_")), default="model")


def to_pipeline(denoiser: Denoiser, diffusion: Diffusion, sampler: Sampler) -> Any:
    """Return a pipeline of diffusers that samples like the denoiser of a U-Net.

    Raises UserError if diffusers cannot represent the network or its timesteps.
    """
    network, diffusers = denoiser.network, import_diffusers()
    assert isinstance(network, UNet)
    betas = exported_betas(Schedule.from_config(diffusion), denoiser.timestep_scale)
    predicts_variance = diffusion.variance == "learned_range" and sampler == "ddpm"
    unet = to_unet2d(network, denoiser.shape[0] * (2 if predicts_variance else 1))
    _check_output(denoiser, unet)
    process = {"num_train_timesteps": len(betas), "trained_betas": betas.tolist(), "clip_sample": denoiser.clip}
    if sampler == "ddpm":
        scheduler = diffusers.DDPMScheduler(**process, variance_type=diffusion.variance)
        return diffusers.DDPMPipeline(unet, scheduler)
    return diffusers.DDIMPipeline(unet, diffusers.DDIMScheduler(**process))


def exported_betas(schedule: Schedule, timestep_scale: float) -> Tensor:
    """Return β of the exported process, float64.

    UNet2DModel does not scale timesteps. If the network sees scaled ones, as with 4,000 steps at 0, 0.25, 0.5, …, the
    exported process consists of the steps that it sees at integers, here every fourth. Raises UserError if the scale
    is not 1/s with an integer s. Source: Nichol & Dhariwal (2021), equation 19.
    """
    stride = round(1 / timestep_scale)
    if not math.isclose(stride * timestep_scale, 1):
        raise UserError(
            f"diffusers cannot scale timesteps by {timestep_scale:g}: diffusion.steps={schedule.steps} is not a "
            "multiple of 1,000 (diffusion.rescale_timesteps=true)"
        )
    alphas_cumprod = schedule.alphas_cumprod[::stride]
    return 1 - alphas_cumprod / torch.cat([alphas_cumprod.new_ones(1), alphas_cumprod[:-1]])


@torch.no_grad()
def _check_output(denoiser: Denoiser, unet: Any) -> None:
    """Raise UserError if the converted network predicts another ε, because diffusers has changed."""
    x_t, y = torch.randn(1, *denoiser.shape, generator=torch.Generator().manual_seed(0)), denoiser.labels(0, 1)
    expected = denoiser.output(x_t, 500 / denoiser.timestep_scale, y)
    actual = unet(x_t, 500, class_labels=y).sample[:, : denoiser.shape[0]]
    if (actual - expected).abs().max() > TOLERANCE * expected.abs().max():
        version = import_diffusers().__version__
        raise UserError(f"UNet2DModel of diffusers {version} computes another output; install another version")
