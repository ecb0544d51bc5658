"""Triangle and distances of the last checkpoint's images, inverted by an earlier checkpoint."""

from dataclasses import asdict, dataclass

from torch import Tensor

from analyze.measures.distances import Distances, distances
from analyze.measures.triangle import Triangle, triangle


@dataclass(frozen=True)
class EarlyInverter(Distances, Triangle):
    """The numbers of `triangle` and `distances`, computed for the images of the last checkpoint."""


def early_inverter(noise: Tensor, last_samples: Tensor, last_latents: Tensor) -> EarlyInverter:
    """Compute `triangle` and `distances` of x_T, the last checkpoint's x_0, and that x_0 inverted by this checkpoint.

    All tensors are [N, C, H, W]. Source: the paper, Figure 4.
    """
    corners = (noise, last_samples, last_latents)
    return EarlyInverter(**asdict(triangle(*corners)), **asdict(distances(*corners)))
