"""Errors of the noise–image mapping, and attractors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.pairwise import nearest_of_each


@dataclass(frozen=True)
class Mistakes:
    """Indices `wrong` [M] whose nearest counterpart is not their own, and that counterpart's index, `nearest` [M]."""

    wrong: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class Attractors:
    """Indices that are nearest to at least one counterpart, and how many, in descending order; ties by index."""

    indices: Tensor
    counts: Tensor


@dataclass(frozen=True)
class MappingMistakes:
    """Indices (int64) among N images and their noises."""

    image_to_noise: Mistakes
    noise_to_image: Mistakes
    attracting_images: Attractors  # nearest to the most noises
    attracting_noises: Attractors  # nearest to the most images
    images_by_variance: Tensor  # [N], ascending


def mapping_mistakes(noise: Tensor, samples: Tensor) -> MappingMistakes:
    """List the individual mistakes behind `noise_mapping`, with noise x_T and samples x_0 [N, C, H, W].

    Every image is matched with all N noises, and every noise with all N images. The lower index wins a tie.
    Source: the paper, Figures 8 and 9.
    """
    nearest_noise, nearest_image = nearest_of_each(samples, noise)
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
