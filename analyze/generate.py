"""A denoiser and the fixed noise → samples and latents."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialised
from torch import Tensor

from configs.errors import UserError
from configs.schema import Analyze
from diffusion import ddim
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from records.durable import new_file


@dataclass(frozen=True)
class Generations:
    """x_T, x_0 and x̂_T of one checkpoint, each float32 [N, C, H, W] on the CPU."""

    noise: Tensor
    samples: Tensor
    latents: Tensor


def generate(denoiser: Denoiser, options: Analyze) -> Generations:
    """Images from always the same noise by DDIM, and what DDIM inversion makes of them, a batch at a time.

    A class-conditional model makes sample i of class i modulo the number of classes. Raises UserError where the
    model puts out numbers that are not finite.
    """
    noise = fixed_noise(denoiser.shape, options.samples, options.noise_seed)
    samples, latents = torch.empty_like(noise), torch.empty_like(noise)
    for start in range(0, len(noise), options.batch_size):
        batch = slice(start, start + options.batch_size)
        x_T, y = noise[batch].to(denoiser.device), _labels(denoiser, start, len(noise[batch]))
        x_0 = ddim.last(ddim.sampling(denoiser, x_T, options.ddim_steps, options.clip_denoised, y))
        inverted = ddim.last(ddim.inversion(denoiser, x_0, options.ddim_steps, options.clip_denoised, y))
        samples[batch], latents[batch] = x_0.cpu(), inverted.cpu()
    for name, tensor in (("samples", samples), ("latents", latents)):
        if not tensor.isfinite().all():
            raise UserError(f"the model's {name} hold numbers that are not finite")
    return Generations(noise, samples, latents)


def _labels(denoiser: Denoiser, start: int, count: int) -> Tensor | None:
    if denoiser.num_classes is None:
        return None
    return torch.arange(start, start + count, device=denoiser.device) % denoiser.num_classes


def save(generations: Generations, path: Path, made_from: str) -> None:
    """Keeps samples and latents; the noise can be drawn again. `made_from` is the digest of the weights."""
    with new_file(path) as aside:
        tensors = {"samples": generations.samples, "latents": generations.latents}
        aside.write_bytes(serialised(tensors, {"made_from": made_from}))


def load(path: Path, options: Analyze) -> Generations | None:
    """The generations kept at `path`, or None where there are none that can be read."""
    try:
        with safe_open(path, framework="pt") as file:
            samples, latents = file.get_tensor("samples"), file.get_tensor("latents")
    except (OSError, SafetensorError):
        return None
    return Generations(fixed_noise(tuple(samples.shape[1:]), len(samples), options.noise_seed), samples, latents)
