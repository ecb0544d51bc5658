"""O-BELM, a bidirectional explicit linear multi-step sampler (Wang et al., 2024, arXiv 2410.07273, equation 18)."""

from dataclasses import dataclass

from torch import Tensor

from diffusion.levels import Level
from diffusion.solvers.two_step import TwoStepSolver


@dataclass(frozen=True)
class OBelm(TwoStepSolver):
    """In z = x/α and σ̄ = σ/α, with steps h to one neighbor and g to the other: z' = r²·z + (1 − r²)·z_s + h(1 + r)·ε.

    r = h/g is the ratio of the step taken to the other one. The product of all r² amplifies rounding errors.
    """

    def clean_timestep(self, timesteps: list[float]) -> float:
        return 1

    def forward(self, x_t: Tensor, x_s: Tensor, eps: Tensor, t: Level, s: Level, p: Level) -> Tensor:
        return _move(x_t, x_s, eps, t, s, p)

    def backward(self, x_p: Tensor, x_s: Tensor, eps: Tensor, p: Level, s: Level, t: Level) -> Tensor:
        return _move(x_p, x_s, eps, p, s, t)


def _move(x_from: Tensor, x_s: Tensor, eps: Tensor, origin: Level, s: Level, target: Level) -> Tensor:
    """Return the state at `target` from those at `origin` and at s between them."""
    h = target.sigma / target.alpha - s.sigma / s.alpha
    ratio = h / (s.sigma / s.alpha - origin.sigma / origin.alpha)
    z = ratio**2 * x_from / origin.alpha + (1 - ratio**2) * x_s / s.alpha + h * (1 + ratio) * eps
    return target.alpha * z
