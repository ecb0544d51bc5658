"""Statistics of latents: distance from the noise of their images, reconstruction, and distribution of their values."""

from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.measures.correlation import noise_floor, top_correlation
from analyze.measures.distances import distances
from analyze.measures.normality import kl_to_normal
from analyze.measures.triangle import triangle


@dataclass(frozen=True)
class Recovery:
    """Errors of x̂_T for DDIM's own images (L2 norms), and the geometry of x_T, x_0 and x̂_T.

    `diverged` is the fraction of images whose error exceeds ‖x_T‖, `latent_angle` the angle at x̂_T in degrees, and
    `image_latent` the mean distance ‖x_0 − x̂_T‖.
    """

    error_mean: float
    error_median: float
    error_p95: float
    diverged: float
    latent_angle: float
    image_latent: float


@dataclass(frozen=True)
class Latents:
    """Reconstruction error ‖x_0 − DDIM(x̂_T)‖, and the distribution of the latents' values.

    `kl` is the divergence from N(0, 1) in nats, `correlation` the mean of the ten largest |correlations| of pixels.
    Both are those of the finite latents, and are followed by the value of as much Gaussian noise.
    """

    reconstruction_mean: float
    reconstruction_median: float
    latent_mean: float
    latent_std: float
    kl: float
    kl_floor: float
    correlation: float
    correlation_floor: float


def recovery(x_T: Tensor, x_0: Tensor, latents: Tensor) -> Recovery:
    """Compare latents x̂_T with the noise x_T, all tensors [N, C, H, W].

    A latent that is not finite has an infinite error and is left out of the geometry.
    """
    error, size = _norms(latents - x_T), _norms(x_T)
    is_finite = latents.flatten(1).isfinite().all(dim=1)
    corners = [tensor[is_finite] for tensor in (x_T, x_0, latents)]
    return Recovery(
        error_mean=error.mean().item(),
        error_median=_quantile(error, 0.5),
        error_p95=_quantile(error, 0.95),
        diverged=(error > size).double().mean().item(),
        latent_angle=triangle(*corners).latent_of_mean if is_finite.any() else torch.nan,
        image_latent=distances(*corners).image_latent if is_finite.any() else torch.nan,
    )


def describe_latents(x_0: Tensor, latents: Tensor, reconstructions: Tensor) -> Latents:
    """Return reconstruction errors and the distribution of latents x̂_T, all tensors [N, C, H, W]."""
    error = _norms(reconstructions - x_0)
    finite = latents[latents.flatten(1).isfinite().all(dim=1)]
    count, shape = len(finite), tuple(x_0.shape[1:])
    noise, has_correlation = torch.randn(finite.shape, generator=torch.Generator().manual_seed(0)), count > 2
    return Latents(
        reconstruction_mean=error.mean().item(),
        reconstruction_median=_quantile(error, 0.5),
        latent_mean=finite.mean().item(),
        latent_std=finite.std().item(),
        kl=kl_to_normal(finite) if count else torch.nan,
        kl_floor=kl_to_normal(noise) if count else torch.nan,
        correlation=top_correlation(finite).mean if has_correlation else torch.nan,
        correlation_floor=noise_floor(count, shape, x_0.device)[0].mean if has_correlation else torch.nan,
    )


def _norms(differences: Tensor) -> Tensor:
    """Return the L2 norm per image, infinite if it is not a number."""
    return differences.double().flatten(1).norm(dim=1).nan_to_num(torch.inf)


def _quantile(values: Tensor, q: float) -> float:
    return values.quantile(q, interpolation="nearest").item()
