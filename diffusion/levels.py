"""Signal and noise levels of a diffusion process, x_t = α_t·x_0 + σ_t·ε."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Level:
    """Signal α and noise σ of x = α·x_0 + σ·ε at one point of the process."""

    alpha: float
    sigma: float

    @classmethod
    def from_alpha_bar(cls, alpha_bar: float) -> "Level":
        """Return the variance-preserving level α = √ᾱ, σ = √(1−ᾱ)."""
        return cls(math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar))


def log_snr(level: Level) -> float:
    """Return λ = log(α/σ), half the log signal-to-noise ratio, −∞ for pure noise; σ must be above 0."""
    return math.log(level.alpha / level.sigma) if level.alpha > 0 else -math.inf


CLEAN, PURE_NOISE = Level(1.0, 0.0), Level(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class NoiseLevels:
    """α and σ at every training timestep, float64 [training steps] each, from little noise to much."""

    alphas: Tensor
    sigmas: Tensor

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Tensor) -> "NoiseLevels":
        """Return the levels of a variance-preserving process with ᾱ float64 [training steps]."""
        return cls(alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt())

    @classmethod
    def flow_matching(cls, steps: int) -> "NoiseLevels":
        """Return the levels α = 1 − σ of flow matching at σ = i/steps, i = 0, …, steps.

        Source: Lipman et al. (2023), "Flow Matching for Generative Modeling", example II with σ_min = 0.
        """
        sigmas = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        return cls(1 - sigmas, sigmas)

    def __len__(self) -> int:
        return len(self.alphas)

    def __getitem__(self, timestep: int) -> Level:
        return Level(self.alphas[timestep].item(), self.sigmas[timestep].item())
