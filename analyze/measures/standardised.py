"""Pixels on a common scale."""

import torch
from torch import Tensor


def standardised(pixels: Tensor) -> Tensor:
    """Columns of pixels [N, D] with their mean taken away and of length 1, in float64; constant ones become 0.

    Constant is what holds one number only: a mean of equal numbers may be rounded, and leave a direction of its own.
    """
    constant = pixels.amax(dim=0) == pixels.amin(dim=0)
    centred = pixels.double() - pixels.double().mean(dim=0)
    return torch.where(constant, 0.0, centred / centred.norm(dim=0))
