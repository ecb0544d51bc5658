"""Where a checkpoint finds the noises of images that it has not made: those of the last checkpoint."""

from dataclasses import asdict, dataclass

from torch import Tensor

from analyze.measures.distances import Distances, distances
from analyze.measures.triangle import Triangle, triangle


@dataclass(frozen=True)
class EarlyInverter(Distances, Triangle):
    """The numbers of `triangle` and of `distances`, with the last checkpoint's images as the images."""


def early_inverter(noise: Tensor, last_samples: Tensor, last_latents: Tensor) -> EarlyInverter:
    """x_T, the image x_0 that the last checkpoint makes of it, and x_0 inverted by this one, all [N, C, H, W].

    Source: the paper, Figure 4.
    """
    corners = (noise, last_samples, last_latents)
    return EarlyInverter(**asdict(triangle(*corners)), **asdict(distances(*corners)))
