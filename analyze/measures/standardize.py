"""Standardization of pixels over a set of images."""

import torch
from torch import Tensor


def standardize(pixels: Tensor) -> Tensor:
    """Center the columns of pixels [N, D] and scale them to unit length, in float64; constant columns become 0.

    A column is constant if its largest and smallest value are equal. The centered values would not show this, because
    the mean of equal numbers can be rounded.
    """
    constant = pixels.amax(dim=0) == pixels.amin(dim=0)
    centered = pixels.double() - pixels.double().mean(dim=0)
    return torch.where(constant, 0.0, centered / centered.norm(dim=0))
