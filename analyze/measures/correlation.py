"""Pixel correlations of noise, image and latent, compared with independent Gaussian noise."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.standardize import standardize
from diffusion.randomness import normal

TOP, TOP_OF_PATCH = 10, 20
PATCH = 8  # pixels
PIXELS_AT_ONCE = 2048


@dataclass(frozen=True)
class TopCorrelation:
    """Mean and standard deviation of the largest absolute Pearson correlations, from 0 to 1."""

    mean: float
    std: float


@dataclass(frozen=True)
class Correlation:
    """Mean and std of the 10 largest absolute correlations of pixels, and of the 20 largest of every 8×8 patch.

    `floor` is the value of the same amount of fresh Gaussian noise: the correlation of independent pixels.
    """

    noise: float
    noise_std: float
    samples: float
    samples_std: float
    latents: float
    latents_std: float
    floor: float
    floor_std: float
    patch_noise: float
    patch_noise_std: float
    patch_samples: float
    patch_samples_std: float
    patch_latents: float
    patch_latents_std: float
    patch_floor: float
    patch_floor_std: float


def correlation(noise: Tensor, samples: Tensor, latents: Tensor, *, correlation_images: int) -> Correlation:
    """Compute the largest correlations of pixel pairs over the first `correlation_images` images [N, C, H, W].

    Chance alone makes them larger for fewer images and for more pixels, so values are comparable only for equal N
    and D = C·H·W. Source: the paper, Table 1.
    """
    noise, samples, latents = (images[:correlation_images] for images in (noise, samples, latents))
    floor, patch_floor = noise_floor(len(noise), tuple(noise.shape[1:]), noise.device)
    whole = [*map(top_correlation, (noise, samples, latents)), floor]
    patches = [*map(patch_correlation, (noise, samples, latents)), patch_floor]
    return Correlation(*(value for top in whole + patches for value in (top.mean, top.std)))


def top_correlation(images: Tensor, top: int = TOP) -> TopCorrelation:
    """Compute the `top` largest absolute correlations among all D(D−1)/2 pairs of pixels of images [N, C, H, W].

    The correlation with a pixel that is constant over the images is 0. If there are fewer than `top` pairs, all of
    them count. The mean of no pairs is 0, and so is the standard deviation of a single pair.
    """
    return _summary(largest_correlations(images.flatten(1), top))


def patch_correlation(images: Tensor, top: int = TOP_OF_PATCH, patch: int = PATCH) -> TopCorrelation:
    """Compute the `top` largest absolute correlations within each patch, over all its pixels and channels.

    Mean and std are over the largest correlations of all patches together. Patches at the right and bottom border are
    smaller if the side is not a multiple of `patch`.
    """
    patches = [part for row in images.split(patch, dim=2) for part in row.split(patch, dim=3)]
    return _summary(torch.cat([largest_correlations(part.flatten(1), top) for part in patches]))


def largest_correlations(pixels: Tensor, top: int, pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
    """Return the `top` largest absolute correlations of columns of pixels [N, D], float64, in descending order.

    The correlation matrix is searched block by block in float32. The search keeps 2·`top` candidate pairs, which are
    recomputed in float64, so that rounding decides only between pairs that are equal up to 1e-6.
    """
    blocks = [standardize(columns).float() for columns in pixels.split(pixels_at_once, dim=1)]
    values = torch.empty(0, device=pixels.device)
    pairs = torch.empty(0, 2, dtype=torch.long, device=pixels.device)
    for i, left in enumerate(blocks):
        for j, right in enumerate(blocks[i:], start=i):
            block = (left.T @ right).abs_()
            if i == j:  # count each pair once, and no pixel with itself
                block.masked_fill_(torch.ones_like(block, dtype=torch.bool).tril_(), -1)
            block_values, places = block.flatten().topk(min(2 * top, block.numel()))
            places = torch.stack([places // block.shape[1], places % block.shape[1]], dim=1)
            block_pairs = places + torch.tensor([i, j], device=pixels.device) * pixels_at_once
            values, pairs = torch.cat([values, block_values]), torch.cat([pairs, block_pairs])
            values, order = values.topk(min(2 * top, len(values)))
            pairs = pairs[order]
    a, b = pairs[values >= 0].T
    exact = (standardize(pixels[:, a]) * standardize(pixels[:, b])).sum(dim=0).abs().clamp(max=1)
    return exact.sort(descending=True).values[:top]


def _summary(values: Tensor) -> TopCorrelation:
    if len(values) < 2:
        return TopCorrelation(values.sum().item(), 0.0)
    return TopCorrelation(values.mean().item(), values.std().item())


@functools.lru_cache(maxsize=16)
def noise_floor(count: int, shape: tuple[int, ...], device: torch.device) -> tuple[TopCorrelation, TopCorrelation]:
    """Return both statistics of `count` images of Gaussian noise drawn from a fixed seed."""
    noise = normal(shape, 0, "noise floor", ((i,) for i in range(count))).to(device)
    return top_correlation(noise), patch_correlation(noise)
