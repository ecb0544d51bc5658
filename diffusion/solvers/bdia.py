"""BDIA: exact inversion by bi-directional integration (Zhang et al., 2023, arXiv 2307.10829, equation 16)."""

from dataclasses import dataclass

from torch import Tensor

from diffusion.levels import Level
from diffusion.solvers.implicit import transfer
from diffusion.solvers.two_step import TwoStepSolver


@dataclass(frozen=True)
class Bdia(TwoStepSolver):
    """x_p = γ·x_t − γ·D(x_s, ε; s→t) + D(x_s, ε; s→p), for levels t noisier than s noisier than p.

    D is DDIM's step (`transfer`). γ = 1 is stable; with γ < 1, inversion errors grow by a factor of 1/γ per step. The
    network is evaluated on a clean image at one stride below the first timestep, as published.
    """

    gamma: float = 1.0

    def clean_timestep(self, timesteps: list[float]) -> float:
        return timesteps[0] - (timesteps[1] - timesteps[0])

    def forward(self, x_t: Tensor, x_s: Tensor, eps: Tensor, t: Level, s: Level, p: Level) -> Tensor:
        return self.gamma * (x_t - transfer(x_s, eps, s, t)) + transfer(x_s, eps, s, p)

    def backward(self, x_p: Tensor, x_s: Tensor, eps: Tensor, p: Level, s: Level, t: Level) -> Tensor:
        return (x_p - transfer(x_s, eps, s, p)) / self.gamma + transfer(x_s, eps, s, t)
