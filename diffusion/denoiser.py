"""A network and its schedule seen as one thing: a predictor of the noise in x_t."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Denoiser:
    """Predicts ε for x_t at any timestep; what every model is opened as before it is sampled or measured.

    `network` maps x_t [N, C, H, W], t [N] (as the schedule scales it) and labels y [N] or None to its output, of
    which the first C channels are ε. `alphas_cumprod` [steps] is ᾱ in float64, `shape` is (C, H, W).
    """

    network: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    alphas_cumprod: Tensor
    shape: tuple[int, int, int]
    timestep_scale: float
    num_classes: int | None
    device: torch.device

    def labels(self, start: int, count: int) -> Tensor | None:
        """The classes y [count] of samples start, start + 1, …: each its number modulo the classes, if any."""
        if self.num_classes is None:
            return None
        return torch.arange(start, start + count, device=self.device) % self.num_classes

    def eps(self, x_t: Tensor, timestep: int, y: Tensor | None = None) -> Tensor:
        """The noise [N, C, H, W] that the network sees in x_t [N, C, H, W] of classes y [N] at one timestep."""
        t = torch.full((len(x_t),), timestep * self.timestep_scale, device=x_t.device)
        return self.network(x_t, t, y)[:, : self.shape[0]]
