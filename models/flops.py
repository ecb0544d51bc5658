"""Floating-point operations of networks."""

from dataclasses import replace

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from configs.schema import Diffusion, Model
from diffusion.denoiser import Denoiser
from models.compiled import copy_to
from models.unet import UNet

FORWARD_PASSES = 3  # cost of a training step: one forward pass, and a backward pass of twice its cost


def forward_flop(model: Model, diffusion: Diffusion) -> int:
    """Return the floating-point operations of one image's forward pass; a multiply-add counts as two."""
    with torch.device("meta"):
        network = UNet.from_config(model, diffusion).eval()
        x, t = torch.empty(1, model.in_channels, model.image_size, model.image_size), torch.empty(1)
        y = torch.zeros(1, dtype=torch.long) if model.num_classes else None
        with FlopCounterMode(display=False) as counter:
            network(x, t, y)
    return counter.get_total_flops()


@torch.no_grad()
def evaluation_flop(denoiser: Denoiser) -> float:
    """Return the floating-point operations of one evaluation of a denoiser's network for one image.

    The network runs on PyTorch's meta device, without computing anything.
    """
    meta = torch.device("meta")
    if isinstance(denoiser.network, nn.Module):
        denoiser = replace(denoiser, network=copy_to(denoiser.network, meta), device=meta)
    with FlopCounterMode(display=False) as counter:
        denoiser.output(torch.zeros(1, *denoiser.shape, device=denoiser.device), 0, denoiser.labels(0, 1))
    return counter.get_total_flops() / denoiser.evaluations_per_call
