"""Autoencoders of latent-diffusion pipelines."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from configs.errors import UserError
from models.components import load_model

AUTOENCODERS = {"VQModel": "vqvae", "AutoencoderKL": "vae"}


class Decoder(nn.Module):
    """Maps codes [N, C, H, W] to images [N, 3, H', W'] in [−1, 1]: decodes codes·scale + shift."""

    scale: Tensor
    shift: Tensor

    def __init__(self, autoencoder: Any, scale: Tensor, shift: Tensor):
        super().__init__()
        self.autoencoder = autoencoder
        self.register_buffer("scale", scale.view(-1, 1, 1))
        self.register_buffer("shift", shift.view(-1, 1, 1))

    @torch.no_grad()
    def forward(self, codes: Tensor) -> Tensor:
        return self.autoencoder.decode(codes * self.scale + self.shift, return_dict=False)[0]

    @property
    def factor(self) -> int:
        """Pixels per code in each direction."""
        return 2 ** (len(self.autoencoder.config.block_out_channels) - 1)


def open_decoder(folder: Path, components: dict[str, str], scaling_factor: float | None) -> Decoder | None:
    """Return a pipeline's decoder, or None for a pixel model. Raises UserError if the autoencoder is not supported.

    CompVis trained its models on unscaled codes of a VQModel. LDMPipeline of diffusers divides them by the VQModel's
    scaling factor, which degrades the images of CompVis/ldm-celebahq-256 (diffusers, issue 6725).
    """
    kind = next((kind for kind in AUTOENCODERS if components.get(AUTOENCODERS[kind]) == kind), None)
    if kind is None:
        if unknown := components.keys() & set(AUTOENCODERS.values()):
            raise UserError(f"{folder}: its autoencoder {components[unknown.pop()]} is not supported")
        return None
    autoencoder = load_model(folder, AUTOENCODERS[kind], components, (kind,))
    config = autoencoder.config
    training_factor = 1.0 if kind == "VQModel" else config.scaling_factor
    std, mean = config.get("latents_std"), config.get("latents_mean")
    is_standardized = std is not None and mean is not None
    scale = torch.tensor(std if is_standardized else 1.0) / (scaling_factor or training_factor)
    shift = torch.tensor(mean if is_standardized else config.get("shift_factor") or 0.0)
    return Decoder(autoencoder, scale, shift)
