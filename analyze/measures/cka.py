"""How alike two sets of images are, up to rotation and scale: centred kernel alignment."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cka:
    """Linear CKA from 0 to 1 with the biased estimate of HSIC, and with the unbiased one (which may fall below 0)."""

    biased: float
    debiased: float


def cka(samples: Tensor, last_samples: Tensor) -> Cka:
    """Linear CKA of the images [N, C, H, W] of a checkpoint with those of the last one.

    The scale of the pixels does not matter. Where all images of a set are the same there is nothing to align:
    the value is 0. Source: Kornblith et al. (2019), equation 4; debiased: Nguyen et al. (2021), equation 3.
    """
    k, l = _gram(samples), _gram(last_samples)
    return Cka(_ratio(_hsic_biased, k, l), _ratio(_hsic_unbiased, k, l))


def _gram(images: Tensor) -> Tensor:
    """Inner products [N, N] in float64 of the images, the mean image taken away."""
    flat = images.flatten(1).double()
    flat = flat - flat.mean(dim=0)
    return flat @ flat.T


def _ratio(hsic, k: Tensor, l: Tensor) -> float:
    size = torch.sqrt(hsic(k, k).clamp(min=0) * hsic(l, l).clamp(min=0))
    return (hsic(k, l) / size).item() if size > 0 else 0.0


def _hsic_biased(k: Tensor, l: Tensor) -> Tensor:
    """Σ_ij K_ij·L_ij of centred Gram matrices, without the factor (N−1)⁻² that cancels in the ratio."""
    return (k * l).sum()


def _hsic_unbiased(k: Tensor, l: Tensor) -> Tensor:
    """Song et al. (2012), equation 5, without the factor that cancels in the ratio."""
    n = len(k)
    k, l = k.clone().fill_diagonal_(0), l.clone().fill_diagonal_(0)
    all_pairs = k.sum() * l.sum() / ((n - 1) * (n - 2))
    return (k * l).sum() + all_pairs - 2 * (k.sum(dim=0) @ l.sum(dim=0)) / (n - 2)
