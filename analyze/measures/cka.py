"""Centered kernel alignment (CKA): similarity of two sets of images, invariant to rotation and scale."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cka:
    """Linear CKA from 0 to 1 with the biased HSIC estimate, and with the unbiased one, which can be negative."""

    biased: float
    debiased: float


def cka(samples: Tensor, last_samples: Tensor) -> Cka:
    """Compute linear CKA between the images [N, C, H, W] of a checkpoint and those of the last one.

    CKA does not depend on the scale of the pixels. It is 0 if all images of a set are equal, because nothing varies.
    Source: Kornblith et al. (2019), equation 4; debiased: Nguyen et al. (2021), equation 3.
    """
    k, l = _gram(samples), _gram(last_samples)
    return Cka(_normalized(_hsic_biased, k, l), _normalized(_hsic_unbiased, k, l))


def _gram(images: Tensor) -> Tensor:
    """Return the inner products [N, N] of the centered images, in float64."""
    flat = images.flatten(1).double()
    flat = flat - flat.mean(dim=0)
    return flat @ flat.T


def _normalized(hsic: Callable[[Tensor, Tensor], Tensor], k: Tensor, l: Tensor) -> float:
    norm = torch.sqrt(hsic(k, k).clamp(min=0) * hsic(l, l).clamp(min=0))
    return (hsic(k, l) / norm).item() if norm > 0 else 0.0


def _hsic_biased(k: Tensor, l: Tensor) -> Tensor:
    """Return Σ_ij K_ij·L_ij of centered Gram matrices, without the factor (N−1)⁻² that cancels in the ratio."""
    return (k * l).sum()


def _hsic_unbiased(k: Tensor, l: Tensor) -> Tensor:
    """Return the estimator of Song et al. (2012), equation 5, without the factor that cancels in the ratio."""
    n = len(k)
    k, l = k.clone().fill_diagonal_(0), l.clone().fill_diagonal_(0)
    all_pairs = k.sum() * l.sum() / ((n - 1) * (n - 2))
    return (k * l).sum() + all_pairs - 2 * (k.sum(dim=0) @ l.sum(dim=0)) / (n - 2)
