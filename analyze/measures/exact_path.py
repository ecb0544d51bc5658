"""Exact path of an inversion: the states of DDIM's sampling trajectory, from the image to the noise.

Every step of this path solves its implicit equation x_t = f(x_t), even if the equation has other solutions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from analyze.generate import in_batches
from analyze.generations import Generations
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.implicit import StepEquation, equation_type, inverse_steps
from diffusion.solvers.solver import Step

Product = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Jacobian:
    """The products v ↦ J·v and u ↦ Jᵀ·u for vectors [N, D], where J is the Jacobian of f at x_t, and ε(x_t, t)."""

    eps: Tensor
    product: Product
    transposed: Product


@dataclass(frozen=True)
class ExactStep:
    """One inverse step on the sampling trajectory: `equation` starts at x_s, and x_t [N, C, H, W] solves it."""

    equation: StepEquation
    x_t: Tensor

    @property
    def x_s(self) -> Tensor:
        return self.equation.x_s

    @property
    def eps_weight(self) -> float:
        """B·σ_t, the factor of ε in f(y) = D(x_s, ε(y, t); s→t)."""
        step = self.equation.step
        return self.equation.coefficients(step.start, step.end)[1]

    @property
    def prefactor(self) -> float:
        """B, the factor of J = ∂f/∂x where ∂x̂_0/∂x vanishes."""
        return self.eps_weight / self.equation.step.end.sigma

    def jacobian(self) -> Jacobian:
        """Evaluate the network at x_t and hold its activations for products with J.

        J·v is the transposed product of u ↦ Jᵀ·u: reverse mode twice is faster than forward mode, and works for all
        layers.
        """
        shape, weight = self.x_t.shape, self.eps_weight
        eps, pull_back, *_ = torch.func.vjp(self.equation.eps, self.x_t)
        push_forward = torch.func.vjp(lambda u: pull_back(u)[0], torch.zeros_like(self.x_t))[1]

        def scaled(product: Callable[[Tensor], tuple[Tensor]]) -> Product:
            return lambda vector: weight * product(vector.view(shape))[0].detach().flatten(1)

        return Jacobian(eps.detach(), scaled(push_forward), scaled(pull_back))

    @torch.no_grad()
    def naive(self, x_s: Tensor) -> Tensor:
        """Return the naive x_t = D(x_s, ε(x_s, t); s→t) from any x_s [N, C, H, W]."""
        return replace(self.equation, x_s=x_s)(x_s)


def exact_path(denoiser: Denoiser, sampler: Ddim, x_T: Tensor, y: Tensor | None) -> list[ExactStep]:
    """Sample from x_T [N, C, H, W] and return the inverse steps between the states, from the image to x_T."""
    states = [x_T, *sampler.sample(denoiser, x_T, y)][::-1]
    steps = inverse_steps(sampler.spacing.sampling(denoiser.levels, sampler.steps))
    new_equation, clip = equation_type(denoiser, steps), sampler.clips(denoiser)
    return [
        ExactStep(new_equation(denoiser, states[0], x_s, step, y, clip), x_t)
        for step, (x_s, x_t) in zip(steps, pairwise(states), strict=True)
    ]


def along_exact_path(
    generations: Generations, images: int, run: Callable[[Sequence[ExactStep]], Tensor], max_batch_size: int
) -> Tensor:
    """Return run(path) [n, …] for the path of the first `images` noises, in batches, computed in float32."""
    options = generations.options
    size = min(options.batch_size or max_batch_size, max_batch_size)
    options = replace(options, batch_size=size, precision="fp32")

    def run_batch(denoiser: Denoiser, x_T: Tensor, y: Tensor | None) -> Tensor:
        return run(exact_path(denoiser, sampler(generations), x_T, y))

    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        noise = first_noises(generations, images)
        return in_batches(generations.float32_denoisers, noise, options, run_batch, may_diverge=True).double()


def exact_steps(generations: Generations) -> list[Step]:
    """Return the levels and timesteps of the inverse steps, from the image to the noise."""
    solver = sampler(generations)
    return inverse_steps(solver.spacing.sampling(generations.float32_denoisers[0].levels, solver.steps))


def sampler(generations: Generations) -> Ddim:
    return Ddim(generations.options.ddim_steps, generations.spacing, generations.options.clip_denoised)


def first_noises(generations: Generations, images: int) -> Tensor:
    """Return the first noises x_T [n, C, H, W] of the generations, at most `images`."""
    count = min(images, generations.options.samples)
    return fixed_noise(generations.float32_denoisers[0].shape, count, generations.options.noise_seed)
