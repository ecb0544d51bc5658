"""What is lost on the way from an image to its latent and back."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Reconstruction:
    """Mean |difference| and mean squared difference, over pixels, channels and images."""

    mean_absolute_error: float
    mse: float


def reconstruction(samples: Tensor, reconstructions: Tensor) -> Reconstruction:
    """x_0 against DDIM(x̂_T), the image that its inverted latent becomes, both [N, C, H, W].

    Source: the authors' code; the paper has no table of it.
    """
    difference = samples.double() - reconstructions.double()
    return Reconstruction(difference.abs().mean().item(), difference.square().mean().item())
