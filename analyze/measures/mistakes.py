"""Which images and noises are taken for another's, which ones attract the others, and which images are plain."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.pairwise import squared_distances

PLAIN_BELOW = 0.025


@dataclass(frozen=True)
class Mistakes:
    """`wrong` [M] are the indices whose nearest is not their own, `nearest` [M] what is nearest to each instead."""

    wrong: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class Attractors:
    """`indices` that are nearest to any, with the number to which they are: most first, of equals the first."""

    indices: Tensor
    counts: Tensor


@dataclass(frozen=True)
class MappingMistakes:
    """Indices (int64) among N images and their noises."""

    image_to_noise: Mistakes
    noise_to_image: Mistakes
    attracting_images: Attractors  # nearest to the most noises
    attracting_noises: Attractors  # nearest to the most images
    images_by_variance: Tensor  # [N], the plainest first


@dataclass(frozen=True)
class PlainPixels:
    """Where images are plain, [N, H, W], and the share of such pixels, from 0 to 1."""

    mask: Tensor
    share: float


def mapping_mistakes(noise: Tensor, samples: Tensor) -> MappingMistakes:
    """What `noise_mapping` counts, by name: noise x_T and samples x_0 are [N, C, H, W], all N to choose from.

    Of equal distances the first counts. Source: the paper, Figures 8 and 9.
    """
    distances = squared_distances(samples, noise)
    nearest_noise, nearest_image = distances.argmin(dim=1), distances.argmin(dim=0)
    variance = samples.flatten(1).double().var(dim=1, correction=0)
    return MappingMistakes(
        image_to_noise=_mistakes(nearest_noise),
        noise_to_image=_mistakes(nearest_image),
        attracting_images=_attractors(nearest_image),
        attracting_noises=_attractors(nearest_noise),
        images_by_variance=variance.sort(stable=True).indices,
    )


def _mistakes(nearest: Tensor) -> Mistakes:
    wrong = (nearest != torch.arange(len(nearest), device=nearest.device)).nonzero().flatten()
    return Mistakes(wrong, nearest[wrong])


def _attractors(nearest: Tensor) -> Attractors:
    counts, indices = nearest.bincount().sort(descending=True, stable=True)
    return Attractors(indices[counts > 0], counts[counts > 0])


def plain_pixels(samples: Tensor, below: float = PLAIN_BELOW) -> PlainPixels:
    """The pixels of images [N, C, H, W] that hardly differ from the next ones to the right and below.

    Plain is a pixel whose two |differences| are less than `below` on average, in every channel. At the lower and the
    right border the missing difference is 0, as in the authors' code, so that the last pixel is always plain.
    """
    down = F.pad(samples.diff(dim=2).abs(), (0, 0, 0, 1))
    right = F.pad(samples.diff(dim=3).abs(), (0, 1, 0, 0))
    mask = ((down + right) / 2 < below).all(dim=1)
    return PlainPixels(mask, mask.double().mean().item())
