"""Accuracy of matching noise and image by nearest neighbor, in both directions."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import chunks, squared_distances


@dataclass(frozen=True)
class NoiseMapping:
    """Accuracies from 0 to 1: mean and standard deviation over disjoint chunks of the images."""

    image_to_noise: float
    noise_to_image: float
    image_to_noise_std: float
    noise_to_image_std: float


def noise_mapping(noise: Tensor, samples: Tensor, *, mapping_images: int) -> NoiseMapping:
    """Compute how often the nearest noise of an image is its own, and how often the nearest image of a noise is.

    noise x_T and samples x_0 are [N, C, H, W]. The accuracy depends on the number of candidates, so it is computed
    within disjoint chunks of exactly `mapping_images` images; a smaller remainder is dropped. If N is smaller than
    `mapping_images`, all N form one chunk. The standard deviation of a single chunk is 0.
    Source: the paper, section 4.1, Table 2, Figure 5.
    """
    ranges = chunks(len(noise), mapping_images)
    accuracies = torch.tensor([_accuracies(noise[chunk], samples[chunk]) for chunk in ranges], dtype=torch.float64)
    stds = accuracies.std(dim=0) if len(ranges) > 1 else torch.zeros(2)
    return NoiseMapping(*accuracies.mean(dim=0).tolist(), *stds.tolist())


def _accuracies(noise: Tensor, samples: Tensor) -> tuple[float, float]:
    distances, own = squared_distances(samples, noise), torch.arange(len(noise), device=noise.device)
    image_to_noise = (distances.argmin(dim=1) == own).double().mean()
    noise_to_image = (distances.argmin(dim=0) == own).double().mean()
    return image_to_noise.item(), noise_to_image.item()
