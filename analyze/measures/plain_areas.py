"""Error and spread of latents in plain and in other pixels of the image."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from analyze.measures.normality import kl_to_normal


@dataclass(frozen=True)
class PlainAreas:
    """Statistics over all images of the values in plain and in other pixels; None if there are no such pixels.

    `share` is the fraction of plain pixels, `error` the mean |x_T − x̂_T|, `std` the standard deviation of the latent's
    values and `noise_std` that of x_T in the same pixels. `kl` is the divergence of all values of the latents from
    N(0, 1) in nats, and `kl_floor` that of the noise, which is due to the finite number of values.
    """

    share: float
    error_plain: float | None
    error_other: float | None
    std_plain: float | None
    std_other: float | None
    noise_std_plain: float | None
    noise_std_other: float | None
    kl: float
    kl_floor: float


def plain_areas(noise: Tensor, samples: Tensor, latents: Tensor, *, plain_threshold: float) -> PlainAreas:
    """Compare latents x̂_T with noise x_T in plain and other pixels of images x_0, all [N, C, H, W].

    Of a latent-diffusion model, x_0 are the codes, so a pixel is a position of the code. Source: later
    versions of the paper (arXiv 2410.23530), which attribute the error of latents to plain areas.
    """
    mask = plain_mask(samples, plain_threshold)
    error_plain, error_other = _by_mask(_mean, (latents - noise).abs(), mask)
    std_plain, std_other = _by_mask(_std, latents, mask)
    noise_std_plain, noise_std_other = _by_mask(_std, noise, mask)
    return PlainAreas(
        share=mask.double().mean().item(),
        error_plain=error_plain,
        error_other=error_other,
        std_plain=std_plain,
        std_other=std_other,
        noise_std_plain=noise_std_plain,
        noise_std_other=noise_std_other,
        kl=kl_to_normal(latents),
        kl_floor=kl_to_normal(noise),
    )


def plain_mask(samples: Tensor, threshold: float) -> Tensor:
    """Return the mask [N, H, W] of the pixels of images [N, C, H, W] that barely differ from two of their neighbors.

    A pixel is plain if the mean of its absolute differences from the right and the lower neighbor is less than
    `threshold` in every channel. A missing neighbor at the border counts as a difference of 0, as in the authors' code,
    so the last pixel is always plain.
    """
    down = F.pad(samples.diff(dim=2).abs(), (0, 0, 0, 1))
    right = F.pad(samples.diff(dim=3).abs(), (0, 1, 0, 0))
    return ((down + right) / 2 < threshold).all(dim=1)


def _by_mask(statistic: Callable[[Tensor], float], images: Tensor, mask: Tensor) -> tuple[float | None, float | None]:
    """Return a statistic of the values of images [N, C, H, W] inside and outside of a mask [N, H, W]."""
    pixels = images.movedim(1, -1)
    inside, outside = (statistic(pixels[part].double()) if part.any() else None for part in (mask, ~mask))
    return inside, outside


def _mean(values: Tensor) -> float:
    return values.mean().item()


def _std(values: Tensor) -> float:
    return values.std(correction=0).item()
