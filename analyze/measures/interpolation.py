"""Distance of the sampling trajectory from the line between noise and latent."""

from dataclasses import dataclass

import torch
from torch import Tensor

LAMBDAS = tuple(i / 20 for i in range(21))


@dataclass(frozen=True)
class InterpolationMap:
    """Mean distances of x_t from points on the line: `mean[k][l]` is at the k-th time and at `lambdas[l]`."""

    lambdas: tuple[float, ...]
    mean: tuple[tuple[float, ...], ...]


def interpolation_map(noise: Tensor, latents: Tensor, trajectory: Tensor) -> InterpolationMap:
    """Compute the mean ‖(1−λ)x_T + λx̂_T − x_t‖ over the first n samples, for K times t and 21 λ from 0 to 1.

    noise x_T and latents x̂_T are [N, C, H, W]; trajectory [K, n, C, H, W] contains x_t of the first n ≤ N samples.
    Source: the paper, Figure 3.
    """
    n = trajectory.shape[1]
    x_T, inverted = noise[:n].flatten(1).double(), latents[:n].flatten(1).double()
    line = inverted - x_T
    rows = (_distances(x_T - x_t.flatten(1).double(), line).mean(dim=0).tolist() for x_t in trajectory)
    return InterpolationMap(LAMBDAS, tuple(map(tuple, rows)))


def _distances(start: Tensor, line: Tensor) -> Tensor:
    """Return ‖start + λ·line‖ [n, 21] for vectors [n, D], as the square root of a quadratic in λ."""
    lambdas = torch.tensor(LAMBDAS, dtype=start.dtype, device=start.device)
    constant, linear, quadratic = (
        (a * b).sum(dim=1)[:, None] for a, b in ((start, start), (start, line), (line, line))
    )
    return (constant + 2 * lambdas * linear + lambdas**2 * quadratic).clamp(min=0).sqrt()
