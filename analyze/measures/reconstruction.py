"""Reconstruction error of images regenerated from their latents."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Mean absolute and mean squared error over pixels, channels and images."""

    mean_absolute_error: float
    mse: float


def reconstruction(samples: Tensor, reconstructions: Tensor) -> Reconstruction:
    """Compare x_0 with DDIM(x̂_T), the image generated from its inverted latent, both [N, C, H, W].

    Source: the authors' code; the paper has no table of it.
    """
    difference = samples.double() - reconstructions.double()
    return Reconstruction(difference.abs().mean().item(), difference.square().mean().item())
