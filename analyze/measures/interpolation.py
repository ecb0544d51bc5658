"""How near the way from noise to image passes to the line between noise and latent."""

from dataclasses import dataclass

import torch
from torch import Tensor

LAMBDAS = tuple(i / 20 for i in range(21))


@dataclass(frozen=True)
class InterpolationMap:
    """`mean[k][l]`: the mean distance of x_t at the k-th time from the point at `lambdas[l]` of the line."""

    lambdas: tuple[float, ...]
    mean: tuple[tuple[float, ...], ...]


def interpolation_map(noise: Tensor, latents: Tensor, trajectory: Tensor) -> InterpolationMap:
    """The mean ‖(1−λ)x_T + λx̂_T − x_t‖ over the first n samples, for K times t and 21 λ from 0 to 1.

    noise x_T and latents x̂_T are [N, C, H, W], trajectory [K, n, C, H, W] holds x_t of the first n ≤ N samples.
    Source: the paper, Figure 3.
    """
    n = trajectory.shape[1]
    x_T, inverted = noise[:n].flatten(1).double(), latents[:n].flatten(1).double()
    line = inverted - x_T
    rows = (_distances(x_T - x_t.flatten(1).double(), line).mean(dim=0).tolist() for x_t in trajectory)
    return InterpolationMap(LAMBDAS, tuple(map(tuple, rows)))


def _distances(start: Tensor, line: Tensor) -> Tensor:
    """‖start + λ·line‖ as [n, 21] for vectors [n, D]: the root of a quadratic in λ."""
    lambdas = torch.tensor(LAMBDAS, dtype=start.dtype, device=start.device)
    constant, linear, quadratic = (
        (a * b).sum(dim=1)[:, None] for a, b in ((start, start), (start, line), (line, line))
    )
    return (constant + 2 * lambdas * linear + lambdas**2 * quadratic).clamp(min=0).sqrt()
