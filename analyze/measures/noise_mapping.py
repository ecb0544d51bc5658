"""Can a noise be told from the image that it becomes, and the image from its noise, by distance alone?"""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import squared_distances


@dataclass(frozen=True)
class NoiseMapping:
    """Shares from 0 to 1: means over disjoint chunks of the images, and their standard deviation over chunks."""

    image_to_noise: float
    noise_to_image: float
    image_to_noise_std: float
    noise_to_image_std: float


def noise_mapping(noise: Tensor, samples: Tensor, *, mapping_images: int) -> NoiseMapping:
    """How often the nearest noise of an image is its own, and the nearest image of a noise is its own.

    noise x_T and samples x_0 are [N, C, H, W]. The share depends on how many there are to choose from, so it is
    taken in disjoint chunks of exactly `mapping_images` (of all N, where there are fewer) and what is left over
    does not count. With one chunk the standard deviation is 0. Source: the paper, section 4.1, Table 2, Figure 5.
    """
    size = min(mapping_images, len(noise))
    chunks = [slice(start, start + size) for start in range(0, len(noise) - size + 1, size)]
    shares = torch.tensor([_shares(noise[chunk], samples[chunk]) for chunk in chunks], dtype=torch.float64)
    (image, noise_share), spread = shares.mean(dim=0).tolist(), [0.0, 0.0]
    if len(chunks) > 1:
        spread = shares.std(dim=0).tolist()
    return NoiseMapping(image, noise_share, *spread)


def _shares(noise: Tensor, samples: Tensor) -> tuple[float, float]:
    distances, own = squared_distances(samples, noise), torch.arange(len(noise), device=noise.device)
    image_to_noise = (distances.argmin(dim=1) == own).double().mean()
    noise_to_image = (distances.argmin(dim=0) == own).double().mean()
    return image_to_noise.item(), noise_to_image.item()
