"""The ideal denoiser of Gaussian data, a linear map, for which all errors of inversion have a closed form."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analyze.generations import Generations
from analyze.settings import Setting
from configs.schema import Analyze, Diffusion
from diffusion.denoiser import Denoiser
from diffusion.levels import Level, NoiseLevels
from diffusion.schedule import Schedule
from diffusion.solvers.solver import Step
from diffusion.solvers.spacing import StridedSpacing

SHAPE = (3, 4, 4)
D = 48
T = 10


@dataclass(frozen=True)
class Gaussian:
    """Data N(0, Q·diag(s²)·Qᵀ) with `variances` s² float64 [D] and an orthogonal `basis` Q [D, D].

    In the coordinates Qᵀ·x every map of DDIM multiplies each value by a number, which the methods return as [D].
    """

    variances: Tensor
    basis: Tensor

    @property
    def levels(self) -> NoiseLevels:
        return Schedule.from_config(Diffusion(schedule="cosine", steps=1000)).levels

    @property
    def inverse_steps(self) -> list[Step]:
        """The exact inverse steps, from the image to the noise."""
        steps = StridedSpacing().sampling(self.levels, T)
        return [Step(step.timestep, step.end, step.start) for step in reversed(steps)]

    def denoiser(self) -> Denoiser:
        """Return the denoiser E[ε | x_t] = σ·(α²·Σ + σ²·I)⁻¹·x_t."""

        def network(x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
            basis, factor = self.basis.to(x_t), self.eps(self.levels[round(t.item())]).to(x_t)
            return (basis @ (factor[:, None] * (basis.T @ x_t.flatten(1).T))).T.view(x_t.shape)

        return Denoiser(network, self.levels, SHAPE, 1.0, None, torch.device("cpu"), clip=False)

    def eps(self, level: Level) -> Tensor:
        """Return the factor of ε."""
        return level.sigma / (level.alpha**2 * self.variances + level.sigma**2)

    def move(self, start: Level, end: Level, at: Level) -> Tensor:
        """Return the factor of DDIM's step between two levels, with ε evaluated as at a third level."""
        ratio = end.alpha / start.alpha
        return ratio + (end.sigma - ratio * start.sigma) * self.eps(at)

    def jacobian(self, step: Step) -> Tensor:
        """Return the factor of J = B·(I − α_t·∂x̂_0/∂x), B·κ with κ = σ_t²/(α_t²·s² + σ_t²)."""
        prefactor = 1 - step.end.alpha * step.start.sigma / (step.start.alpha * step.end.sigma)
        return prefactor * step.end.sigma * self.eps(step.end)

    def states(self, x_T: Tensor) -> list[Tensor]:
        """Return the states of the sampling trajectory from x_T [n, D], from the image to the noise."""
        states = [x_T]
        for step in reversed(self.inverse_steps):
            states.insert(0, self.move(step.end, step.start, step.end) * states[0])
        return states

    def images(self, coordinates: Tensor) -> Tensor:
        """Return images [n, C, H, W] for coordinates [n, D]."""
        return (coordinates @ self.basis.T).view(-1, *SHAPE)

    def coordinates(self, images: Tensor) -> Tensor:
        """Return coordinates float64 [n, D] of images [n, C, H, W]."""
        return images.flatten(1).double() @ self.basis


def pixels_with(variances: Tensor) -> Gaussian:
    """Return independent pixels with variances [4, 4] in every channel."""
    return Gaussian(variances.double().expand(SHAPE).flatten(), torch.eye(D, dtype=torch.float64))


def correlated(*variances: float) -> Gaussian:
    """Return correlated pixels: each variance belongs to equally many random directions."""
    random = torch.randn(D, D, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Gaussian(torch.tensor(variances).double().repeat(D // len(variances)), torch.linalg.qr(random).Q)


def generations(data: Gaussian, folder: Path, **options) -> Generations:
    """Return the generations of the denoiser with T steps."""
    analyze = Analyze(**{"ddim_steps": T, "samples": 16, "precision": "fp32", **options})
    return Generations(
        folder, Setting.from_options(analyze, 0), analyze, lambda device, optimized=True: data.denoiser()
    )
