"""Newton–Krylov iteration on the implicit equation of DDIM's inverse step.

A Newton step solves (I − ∂f/∂x)·δ = f(x) − x by GMRES (Saad & Schultz, 1986) with Jacobian–vector products. A product
counts as one network evaluation, though it takes several times as long.
"""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from diffusion.eager import eager
from diffusion.solvers.gram import solve_gram
from diffusion.solvers.implicit import History, ImplicitInverter, StepEquation


@dataclass(frozen=True)
class NewtonKrylov(ImplicitInverter):
    """`newton_steps` Newton steps with `krylov_steps` Jacobian–vector products each, from x = x_s."""

    newton_steps: int = 1
    krylov_steps: int = 4

    @property
    def inversion_evaluations(self) -> int:
        return self.steps * self.newton_steps * (1 + self.krylov_steps)

    def solve(self, equation: StepEquation, history: History) -> Tensor:
        x = equation.x_s
        for _ in range(self.newton_steps):

            def product(vector: Tensor, x: Tensor = x) -> Tensor:
                return vector - jacobian_product(equation, x, vector)

            x = x + gmres(product, equation(x) - x, self.krylov_steps)
        return x


def jacobian_product(f: Callable[[Tensor], Tensor], x: Tensor, vector: Tensor) -> Tensor:
    """Return J·v for the Jacobian J of f at x: reverse mode twice, since some layers have no forward mode."""
    with _differentiable:
        pull_back = torch.func.vjp(f, x)[1]
        return torch.func.vjp(lambda u: pull_back(u)[0], torch.zeros_like(x))[1](vector)[0].detach()


class _SharedContext:
    """Process-wide settings that threads need at the same time: the first one sets them, the last one restores them."""

    def __init__(self, *contexts: Callable[[], AbstractContextManager]):
        self.contexts, self.entered = contexts, ExitStack()
        self.lock, self.threads = threading.Lock(), 0

    def __enter__(self) -> None:
        with self.lock:
            if not self.threads:
                for context in self.contexts:
                    self.entered.enter_context(context())
            self.threads += 1

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.threads -= 1
            if not self.threads:
                self.entered.close()


# Fused attention has no second derivative. A compiled network cannot be differentiated here, and the attempt would
# leave it uncompiled for the rest of the process.
_differentiable = _SharedContext(lambda: sdpa_kernel(SDPBackend.MATH), eager)


def gmres(product: Callable[[Tensor], Tensor], residual: Tensor, steps: int) -> Tensor:
    """Return δ [N, …] that minimizes ‖residual − A·δ‖ per image over the Krylov space of `steps` products with A."""

    def normalize(vector: Tensor, norm: Tensor) -> Tensor:
        return vector / norm.clamp(min=torch.finfo(norm.dtype).tiny)

    shape, n = (-1, *[1] * (residual.ndim - 1)), len(residual)
    beta = residual.flatten(1).norm(dim=1)
    basis = [normalize(residual, beta.view(shape))]
    hessenberg = residual.new_zeros(n, steps + 1, steps)
    for k in range(steps):
        vector = product(basis[k])
        for i, other in enumerate(basis):
            hessenberg[:, i, k] = (vector * other).flatten(1).sum(dim=1)
            vector = vector - hessenberg[:, i, k].view(shape) * other
        hessenberg[:, k + 1, k] = vector.flatten(1).norm(dim=1)
        basis.append(normalize(vector, hessenberg[:, k + 1, k].view(shape)))
    transposed = hessenberg.transpose(1, 2).double()
    weights = solve_gram(transposed @ hessenberg.double(), transposed[:, :, 0] * beta[:, None]).to(residual.dtype)
    return sum(weights[:, k].view(shape) * basis[k] for k in range(steps))  # type: ignore[return-value]
