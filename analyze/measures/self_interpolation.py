"""Distance of the images between noise and latent from the image of the noise and from the training images."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.generate import SELF_INTERPOLATION
from analyze.generations import Generations, devices
from analyze.measures.pairwise import squared_distances

IMAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class SelfInterpolation:
    """Mean L2 distances of the images sampled at `lambdas` from noise (0) to latent (1).

    `to_start` are distances from the image at λ = 0, `to_data` those from the nearest training image; the latter are
    empty without training images. `middle` is at λ = ½ and `end` at λ = 1. `data_start`, `data_middle` and `data_end`
    are the same for the training images, or None.
    """

    lambdas: tuple[float, ...]
    to_start: tuple[float, ...]
    to_data: tuple[float, ...]
    middle: float
    end: float
    data_start: float | None
    data_middle: float | None
    data_end: float | None


def self_interpolation(generations: Generations) -> SelfInterpolation:
    """Sample images from points on the arc from x_T to x̂_T, and compare them with x_0 and the training images.

    An exact latent equals its noise, so all its images are x_0. A latent may also reproduce x_0 (`end`) although the
    points before it do not (`middle`). Source: Zeng et al. (2026), arXiv 2606.03111.
    """
    return interpolation_distances(generations["self_interpolations"], generations["training_images"])


def interpolation_distances(images: Tensor, training_images: Tensor) -> SelfInterpolation:
    """Summarize images [L, n, C, H, W] at L values of λ; training_images are uint8 [M, C, H, W], with M ≥ 0."""
    to_start = (images - images[0]).double().flatten(2).norm(dim=2).mean(dim=1).tolist()
    to_data = _distances_to_data(images, training_images) if len(training_images) else []
    middle = len(images) // 2
    data_start, data_middle, data_end = (to_data[i] if to_data else None for i in (0, middle, -1))
    return SelfInterpolation(
        SELF_INTERPOLATION,
        tuple(to_start),
        tuple(to_data),
        middle=to_start[middle],
        end=to_start[-1],
        data_start=data_start,
        data_middle=data_middle,
        data_end=data_end,
    )


def _distances_to_data(images: Tensor, training_images: Tensor) -> list[float]:
    """Return the mean L2 distance of images [L, n, C, H, W] from their nearest training image, for each λ."""
    flat, nearest = images.flatten(0, 1).to(devices()[0]), []
    for batch in training_images.split(IMAGES_AT_ONCE):
        data = batch.to(flat.device).float() / 127.5 - 1
        nearest.append(squared_distances(flat, data).amin(dim=1))
    distances = torch.stack(nearest).amin(dim=0).clamp(min=0).sqrt()
    return distances.unflatten(0, images.shape[:2]).mean(dim=1).tolist()
