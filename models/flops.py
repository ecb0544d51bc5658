"""Floating-point operations of networks."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from configs.schema import Diffusion, Model
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
