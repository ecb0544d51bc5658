"""The implicit equation of DDIM's inverse step, and the base class of the inverters that solve it.

Sampling moves x_t to x_s = D(x_t, ε(x_t, t); t→s), where D(x, e; s→t) = (α_t/α_s)·x + (σ_t − σ_s·α_t/α_s)·e is DDIM's
step in either direction (Song et al., 2021, equation 12). Its exact inverse x_t is therefore the solution of
x_t = f(x_t) with f(y) = D(x_s, ε(y, t); s→t).

For flow matching, f holds the velocity u = ε − x_0 constant instead of ε: along u, x_t = a·x_s + b·u with
a = (α_t + σ_t)/(α_s + σ_s) and b = (σ_t·α_s − α_t·σ_s)/(α_s + σ_s). Both equations have the same solution, but that of
ε is singular at pure noise (α_t = 0), where sampling starts; for α = 1 − σ, the step along u is Euler's.
"""

from abc import abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from diffusion.denoiser import Denoiser
from diffusion.levels import Level, log_snr
from diffusion.solvers.ddim import DdimSampler
from diffusion.solvers.solver import Step


def transfer(x: Tensor, eps: Tensor, start: Level, end: Level) -> Tensor:
    """Return D(x, ε; start→end), DDIM's step between two levels along a given ε, all tensors [N, C, H, W]."""
    ratio = end.alpha / start.alpha
    return ratio * x + (end.sigma - ratio * start.sigma) * eps


def prefactor(step: Step) -> float:
    """Return B = 1 − α_t·σ_s/(α_s·σ_t), the factor of ∂f/∂x = B·(I − α_t·∂x̂_0/∂x); it is 1 at a clean image."""
    return 1 - step.end.alpha * step.start.sigma / (step.start.alpha * step.end.sigma)


def inverse_steps(sampling: Sequence[Step]) -> list[Step]:
    """Return sampling steps reversed in order and direction, with the network evaluated where sampling does."""
    return [Step(step.timestep, step.end, step.start) for step in reversed(sampling)]


def predict_eps(
    denoiser: Denoiser, x: Tensor, timestep: float, level: Level, y: Tensor | None = None, clip: bool = False
) -> Tensor:
    """Return ε [N, C, H, W] predicted from x at a level, recomputed from the clipped x_0 if `clip` is set."""
    x_0, eps = denoiser.predict(x, timestep, level, y)
    return (x - level.alpha * x_0.clamp(-1, 1)) / level.sigma if clip and level.sigma > 0 else eps


@dataclass(frozen=True)
class Solved:
    """A step that was solved, and the ε (or velocity) [N, C, H, W] that moves its start to its solution."""

    step: Step
    eps: Tensor


@dataclass(frozen=True)
class History:
    """The steps of an inversion, how many of them are solved, and the newest solved ones, in order."""

    steps: Sequence[Step]
    solved: int
    newest: Sequence[Solved]


@dataclass(frozen=True)
class StepEquation:
    """The equation x_t = f(x_t) of one inverse step from x_s [N, C, H, W], for images x_0 with labels y [N].

    A step moves x_s to a·x_s + b·ε, with `coefficients` a and b.
    """

    denoiser: Denoiser
    x_0: Tensor
    x_s: Tensor
    step: Step
    y: Tensor | None
    clip: bool

    def eps(self, x: Tensor) -> Tensor:
        """Return ε(x, t): one network evaluation per image."""
        return predict_eps(self.denoiser, x, self.step.timestep, self.step.end, self.y, self.clip)

    @staticmethod
    def coefficients(start: Level, end: Level) -> tuple[float, float]:
        """Return a and b of the step between two levels."""
        ratio = end.alpha / start.alpha
        return ratio, end.sigma - ratio * start.sigma

    def position(self, level: Level) -> float:
        """Return the coordinate of a level in which ε is extrapolated: λ = log(α/σ)."""
        return log_snr(level)

    @classmethod
    def gaussian_slope(cls, step: Step, data_std: float) -> float:
        """Return the factor m of ∂f/∂x = m·I of a step for the denoiser of Gaussian data N(0, s²·I).

        m = B·κ with the prefactor B, and I − α_t·∂x̂_0/∂x = κ·I with κ = σ_t²/(α_t²·s² + σ_t²).
        """
        end = step.end
        return prefactor(step) * end.sigma**2 / (end.alpha**2 * data_std**2 + end.sigma**2)

    def move(self, x: Tensor, eps: Tensor, start: Level, end: Level) -> Tensor:
        """Return D(x, ε; start→end)."""
        a, b = self.coefficients(start, end)
        return a * x + b * eps

    def along(self, eps: Tensor) -> Tensor:
        """Return D(x_s, ε; s→t)."""
        return self.move(self.x_s, eps, self.step.start, self.step.end)

    def __call__(self, x: Tensor) -> Tensor:
        """Return f(x): one network evaluation per image."""
        return self.along(self.eps(x))

    def step_back(self, x: Tensor) -> Tensor:
        """Return D(x, ε(x, t); t→s), the sampler's step from x: one network evaluation per image."""
        return self.move(x, self.eps(x), self.step.end, self.step.start)

    def eps_of(self, x_t: Tensor) -> Tensor:
        """Return the ε that moves x_s to x_t."""
        a, b = self.coefficients(self.step.start, self.step.end)
        return (x_t - a * self.x_s) / b

    def select(self, images: Tensor) -> "StepEquation":
        """Return the equation of some of the images, by index [n] or mask [N]."""
        labels = None if self.y is None else self.y[images]
        return replace(self, x_0=self.x_0[images], x_s=self.x_s[images], y=labels)


class VelocityEquation(StepEquation):
    """The same equation in terms of the velocity u = ε − x_0, which takes the place of ε in all methods."""

    def eps(self, x: Tensor) -> Tensor:
        x_0, eps = self.denoiser.predict(x, self.step.timestep, self.step.end, self.y)
        if self.clip:
            x_0 = x_0.clamp(-1, 1)
            eps = (x - self.step.end.alpha * x_0) / self.step.end.sigma
        return eps - x_0

    @staticmethod
    def coefficients(start: Level, end: Level) -> tuple[float, float]:
        scale = start.alpha + start.sigma
        return (end.alpha + end.sigma) / scale, (end.sigma * start.alpha - end.alpha * start.sigma) / scale

    def position(self, level: Level) -> float:
        return level.sigma / (level.alpha + level.sigma)

    @classmethod
    def gaussian_slope(cls, step: Step, data_std: float) -> float:
        """Return m = b·(σ_t − α_t·s²)/(α_t²·s² + σ_t²), the derivative of the velocity times its coefficient."""
        end = step.end
        slope = (end.sigma - end.alpha * data_std**2) / (end.alpha**2 * data_std**2 + end.sigma**2)
        return cls.coefficients(step.start, end)[1] * slope


def equation_type(denoiser: Denoiser, steps: Sequence[Step]) -> type[StepEquation]:
    """Return the kind of equation for inverse steps: that of the velocity for flow matching and pure noise."""
    is_singular = any(step.end.alpha == 0 for step in steps)
    return VelocityEquation if denoiser.prediction_type == "velocity" or is_singular else StepEquation


@dataclass(frozen=True)
class ImplicitInverter(DdimSampler):
    """DDIM sampling with an inverse that solves the implicit equation of every step; subclasses define `solve`."""

    @property
    def memory(self) -> int:
        """The number of solved steps in the history that `solve` gets."""
        return 0

    @torch.no_grad()
    def invert(self, denoiser: Denoiser, x_0: Tensor, y: Tensor | None = None) -> Iterator[Tensor]:
        x, newest = x_0, deque[Solved](maxlen=self.memory)
        steps = inverse_steps(self.spacing.sampling(denoiser.levels, self.steps))
        new_equation = equation_type(denoiser, steps)
        moving = [step for step in steps if not step.is_null]
        yield from [x_0] * (len(steps) - len(moving))
        for number, step in enumerate(moving):
            equation = new_equation(denoiser, x_0, x, step, y, self.clips(denoiser))
            x = self.solve(equation, History(moving, number, newest))
            newest.append(Solved(step, equation.eps_of(x)))
            yield x

    @abstractmethod
    def solve(self, equation: StepEquation, history: History) -> Tensor:
        """Return an approximate solution x_t [N, C, H, W]."""
