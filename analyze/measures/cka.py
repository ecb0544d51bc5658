"""Centered kernel alignment (CKA): similarity of two sets of images, invariant to rotation and scale."""

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
    x, y = _centered(samples), _centered(last_samples)
    products, norms = _gram_products(x, y), [(x * x).sum(dim=1), (y * y).sum(dim=1)]
    return Cka(_normalized(products), _normalized(_unbiased(products, *norms)))


def _centered(images: Tensor) -> Tensor:
    """Return images minus their mean, as float64 [N, D]."""
    flat = images.flatten(1).double()
    return flat - flat.mean(dim=0)


def _gram_products(x: Tensor, y: Tensor) -> Tensor:
    """Return Σ_ij K_ij², Σ_ij L_ij² and Σ_ij K_ij·L_ij [3] of the Gram matrices K = x·xᵀ and L = y·yᵀ.

    The last one is the biased HSIC, without the factor (N−1)⁻² that cancels in CKA. It equals ‖xᵀ·y‖², so that the
    matrices can be N × N or D × D; the smaller ones are used.
    """
    if len(x) < x.shape[1]:
        k, l = x @ x.T, y @ y.T
        return torch.stack([k.square().sum(), l.square().sum(), (k * l).sum()])
    return torch.stack([(a.T @ b).square().sum() for a, b in ((x, x), (y, y), (x, y))])


def _unbiased(products: Tensor, k: Tensor, l: Tensor) -> Tensor:
    """Return the unbiased estimates [3] for the Gram matrices' products [3] and diagonals k and l [N].

    Source: Song et al. (2012), equation 5, without the factor that cancels in CKA. It sums over matrices whose
    diagonals are set to 0. As the rows of the centered Gram matrices sum to 0, those of the changed ones sum to −k, −l.
    """
    n = len(k)
    diagonals = torch.stack([k @ k, l @ l, k @ l])
    all_pairs = torch.stack([k.sum() ** 2, l.sum() ** 2, k.sum() * l.sum()]) / ((n - 1) * (n - 2))
    return products - diagonals + all_pairs - 2 * diagonals / (n - 2)


def _normalized(hsic: Tensor) -> float:
    of_x, of_y, of_both = hsic
    norm = torch.sqrt(of_x.clamp(min=0) * of_y.clamp(min=0))
    return (of_both / norm).item() if norm > 0 else 0.0
