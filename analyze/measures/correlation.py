"""How much the pixels of noise, image and latent depend on each other, beside what chance alone would show."""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.standardised import standardised
from diffusion.randomness import normal

TOP, TOP_OF_PATCH = 10, 20
PATCH = 8  # pixels
PIXELS_AT_ONCE = 2048


@dataclass(frozen=True)
class TopCorrelation:
    """Mean and standard deviation of the largest |Pearson correlations|, from 0 to 1."""

    mean: float
    std: float


@dataclass(frozen=True)
class Correlation:
    """Mean and std of the 10 largest |correlations| of pixels, and of the 20 largest of every 8×8 patch.

    `floor` is the value of as much fresh Gaussian noise: what is found in independent pixels.
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
    """The largest correlations of pixel pairs over the first `correlation_images` images, all [N, C, H, W].

    By chance alone they grow as images get fewer and pixels more, so that only values of the same N and D compare.
    Source: the paper, Table 1.
    """
    noise, samples, latents = (images[:correlation_images] for images in (noise, samples, latents))
    floor, patch_floor = _floor(len(noise), tuple(noise.shape[1:]), noise.device)
    whole = [*map(top_correlation, (noise, samples, latents)), floor]
    patches = [*map(patch_correlation, (noise, samples, latents)), patch_floor]
    return Correlation(*(value for top in whole + patches for value in (top.mean, top.std)))


def top_correlation(images: Tensor, top: int = TOP) -> TopCorrelation:
    """The largest |Pearson correlations| among all D(D−1)/2 pairs of pixels of images [N, C, H, W].

    A pixel that is the same in all images is correlated with none: the value is 0. Where there are fewer pairs all
    of them count; of no pair the mean is 0, and of a single one the standard deviation is.
    """
    return _summary(largest(images.flatten(1), top))


def patch_correlation(images: Tensor, top: int = TOP_OF_PATCH, patch: int = PATCH) -> TopCorrelation:
    """The same among the pixels and channels of each patch; mean and std are over the largest of all patches.

    The patches at the right and the lower border are smaller where the side is no multiple of `patch`.
    """
    patches = [part for row in images.split(patch, dim=2) for part in row.split(patch, dim=3)]
    return _summary(torch.cat([largest(part.flatten(1), top) for part in patches]))


def largest(pixels: Tensor, top: int, pixels_at_once: int = PIXELS_AT_ONCE) -> Tensor:
    """The `top` largest |correlations| of columns of pixels [N, D], float64, in descending order.

    Blocks of the matrix of all correlations are looked through in float32. Twice as many pairs as wanted are kept
    and computed again in float64, so that rounding decides only between pairs that are equal up to 1e-6.
    """
    units = [standardised(columns).float() for columns in pixels.split(pixels_at_once, dim=1)]
    values = torch.empty(0, device=pixels.device)
    pairs = torch.empty(0, 2, dtype=torch.long, device=pixels.device)
    for i, left in enumerate(units):
        for j, right in enumerate(units[i:], start=i):
            block = (left.T @ right).abs_()
            if i == j:  # each pair once, and no pixel with itself
                block.masked_fill_(torch.ones_like(block, dtype=torch.bool).tril_(), -1)
            found, places = block.flatten().topk(min(2 * top, block.numel()))
            places = torch.stack([places // block.shape[1], places % block.shape[1]], dim=1)
            found_pairs = places + torch.tensor([i, j], device=pixels.device) * pixels_at_once
            values, pairs = torch.cat([values, found]), torch.cat([pairs, found_pairs])
            values, kept = values.topk(min(2 * top, len(values)))
            pairs = pairs[kept]
    a, b = pairs[values >= 0].T
    exact = (standardised(pixels[:, a]) * standardised(pixels[:, b])).sum(dim=0).abs().clamp(max=1)
    return exact.sort(descending=True).values[:top]


def _summary(values: Tensor) -> TopCorrelation:
    if len(values) < 2:
        return TopCorrelation(values.sum().item(), 0.0)
    return TopCorrelation(values.mean().item(), values.std().item())


@functools.lru_cache(maxsize=16)
def _floor(count: int, shape: tuple[int, ...], device: torch.device) -> tuple[TopCorrelation, TopCorrelation]:
    """Both statistics of `count` images of Gaussian noise, which are always the same ones."""
    noise = normal(shape, 0, "noise floor", ((i,) for i in range(count))).to(device)
    return top_correlation(noise), patch_correlation(noise)
