"""Noise schedules in float64."""

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from configs.schema import Diffusion
from diffusion.levels import NoiseLevels

MAX_BETA = 0.999  # keeps the last steps of the cosine schedule from being singular


def linear_betas(steps: int) -> Tensor:
    """Return β_1…β_T [steps] of DDPM's linear schedule, scaled so that ᾱ_T hardly depends on the number of steps.

    Source: Ho et al. (2020), section 4, for 1,000 steps; the scaling is Nichol & Dhariwal's.
    """
    scale = 1000 / steps
    return torch.linspace(scale * 1e-4, scale * 0.02, steps, dtype=torch.float64)


def cosine_betas(steps: int) -> Tensor:
    """Return β_1…β_T [steps] of the cosine schedule: ᾱ(u) = cos²((u + 0.008) / 1.008 · π/2).

    Source: Nichol & Dhariwal (2021), equation 17.
    """
    # math.cos instead of a vectorized one: near u = 1, rounding differences in ᾱ are visible in β.
    alpha_bar = [math.cos((i / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for i in range(steps + 1)]
    betas = [min(1 - alpha_bar[i + 1] / alpha_bar[i], MAX_BETA) for i in range(steps)]
    return torch.tensor(betas, dtype=torch.float64)


BETAS = {"linear": linear_betas, "cosine": cosine_betas}


@dataclass(frozen=True)
class Schedule:
    """Forward process q(x_t | x_0) with len(betas) steps; all quantities are float64 [steps].

    Index t = 0 is the first step away from the clean image. Source of the posterior: Ho et al. (2020), equations 6–7.
    """

    betas: Tensor

    @classmethod
    def from_config(cls, config: Diffusion) -> "Schedule":
        return cls(BETAS[config.schedule](config.steps))

    def to(self, device: torch.device) -> "Schedule":
        """Return the schedule on a device, so that training does not copy it in every step."""
        return Schedule(self.betas.to(device))

    @property
    def steps(self) -> int:
        return len(self.betas)

    @cached_property
    def alphas_cumprod(self) -> Tensor:
        return torch.cumprod(1 - self.betas, dim=0)

    @property
    def levels(self) -> NoiseLevels:
        return NoiseLevels.from_alphas_cumprod(self.alphas_cumprod)

    @cached_property
    def alphas_cumprod_prev(self) -> Tensor:
        return torch.cat([self.betas.new_ones(1), self.alphas_cumprod[:-1]])

    @cached_property
    def posterior_variance(self) -> Tensor:
        return self.betas * (1 - self.alphas_cumprod_prev) / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_log_variance_clipped(self) -> Tensor:
        # The posterior variance of the first step is 0; its logarithm is replaced by that of the second step.
        return torch.cat([self.posterior_variance[1:2], self.posterior_variance[1:]]).log()

    @cached_property
    def posterior_mean_x_0(self) -> Tensor:
        """Coefficient of x_0 in the mean of q(x_{t−1} | x_t, x_0)."""
        return self.betas * self.alphas_cumprod_prev.sqrt() / (1 - self.alphas_cumprod)

    @cached_property
    def posterior_mean_x_t(self) -> Tensor:
        """Coefficient of x_t in the mean of q(x_{t−1} | x_t, x_0)."""
        return (1 - self.alphas_cumprod_prev) * (1 - self.betas).sqrt() / (1 - self.alphas_cumprod)
