"""Rex: reversible exponential Runge–Kutta samplers, noise prediction (Blasingame & Liu, 2025, arXiv 2502.08834).

In z = x/α the probability flow is dz/dσ̄ = ε(α·z, t(σ̄)), σ̄ = σ/α. With Ψ_{t→s} a Runge–Kutta increment of it, the
reversible step of McCallum & Foster (2024) is z' = ζ·z + (1 − ζ)·ẑ + Ψ_{t→s}(ẑ), ẑ' = ẑ − Ψ_{s→t}(z').
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import Level, NoiseLevels
from diffusion.solvers.coupled import CoupledSolver, States
from diffusion.solvers.implicit import predict_eps


@dataclass(frozen=True)
class Tableau:
    """Nodes c, coefficients a and weights b of an explicit Runge–Kutta method."""

    nodes: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]


TABLEAUS = {
    "euler": Tableau((0.0,), ((),), (1.0,)),
    "midpoint": Tableau((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "rk4": Tableau((0.0, 0.5, 0.5, 1.0), ((), (0.5,), (0.0, 0.5), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


@dataclass(frozen=True)
class Rex(CoupledSolver):
    """Rex with a Runge–Kutta method by name and coupling ζ; the auxiliary state is x̂, which starts at x_T."""

    tableau: str = "rk4"
    zeta: float = 0.999

    @property
    def sampling_evaluations(self) -> int:
        return 2 * self.steps * len(TABLEAUS[self.tableau].nodes)

    @property
    def inversion_evaluations(self) -> int:
        return self.sampling_evaluations

    @torch.no_grad()
    def sample_coupled(self, denoiser: Denoiser, x_T: Tensor, y: Tensor | None = None) -> Iterator[States]:
        steps = self._sampling_steps(denoiser)
        z = z_hat = x_T / steps[0].start.alpha
        for step in steps:
            increment = self._increment(denoiser, z_hat, step.start, step.end, y)
            z = self.zeta * z + (1 - self.zeta) * z_hat + increment
            z_hat = z_hat - self._increment(denoiser, z, step.end, step.start, y)
            yield step.end.alpha * z, step.end.alpha * z_hat

    @torch.no_grad()
    def invert_coupled(
        self, denoiser: Denoiser, x_0: Tensor, auxiliary: Tensor | None, y: Tensor | None = None
    ) -> Iterator[States]:
        steps = self._inverse_steps(denoiser)
        z, z_hat = (x / steps[0].start.alpha for x in (x_0, x_0 if auxiliary is None else auxiliary))
        for step in steps:
            z_hat = z_hat + self._increment(denoiser, z, step.start, step.end, y)
            increment = self._increment(denoiser, z_hat, step.end, step.start, y)
            z = (z - (1 - self.zeta) * z_hat - increment) / self.zeta
            yield step.end.alpha * z, step.end.alpha * z_hat

    def _increment(self, denoiser: Denoiser, z: Tensor, start: Level, end: Level, y: Tensor | None) -> Tensor:
        """Return the Runge–Kutta increment of z between two levels."""
        method = TABLEAUS[self.tableau]
        ratio = start.sigma / start.alpha
        h = end.sigma / end.alpha - ratio
        slopes: list[Tensor] = []
        for node, coefficients in zip(method.nodes, method.coefficients, strict=True):
            stage = z + h * _weighted(coefficients, slopes) if slopes else z
            level = {0.0: start, 1.0: end}.get(node) or level_of_ratio(ratio + node * h)
            timestep = continuous_timestep(denoiser.levels, level)
            slopes.append(predict_eps(denoiser, level.alpha * stage, timestep, level, y))
        return h * _weighted(method.weights, slopes)


def _weighted(weights: Sequence[float], tensors: Sequence[Tensor]) -> Tensor:
    return sum(weight * tensor for weight, tensor in zip(weights, tensors, strict=True) if weight)  # type: ignore[return-value]


def level_of_ratio(ratio: float) -> Level:
    """Return the variance-preserving level with σ/α = `ratio`."""
    alpha = 1 / math.sqrt(1 + ratio**2)
    return Level(alpha, alpha * ratio)


def continuous_timestep(levels: NoiseLevels, level: Level) -> float:
    """Return the timestep of a level, interpolated by a cubic spline in arctan(σ/α); a clean image is at −1."""
    return float(_timestep_spline(levels)(math.atan2(level.sigma, level.alpha)))


@functools.lru_cache(maxsize=4)
def _timestep_spline(levels: NoiseLevels) -> CubicSpline:
    angles = torch.atan2(levels.sigmas, levels.alphas)
    return CubicSpline([0.0, *angles.tolist()], range(-1, len(levels)))
