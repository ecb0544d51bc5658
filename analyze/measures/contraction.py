"""Contraction of the inverse steps: spectrum of their Jacobians, and gains in plain and other pixels.

The exact inverse of a step is a fixed point of f(y) = D(x_s, ε(y, t); s→t). The Jacobian J = B·(I − α_t·∂x̂_0/∂x) of f
determines the error of naive inversion and the convergence of fixed-point iteration, see docs/inverters.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.generations import Generations
from analyze.measures.exact_path import ExactStep, Product, along_exact_path, exact_steps
from analyze.measures.plain_areas import plain_mask
from diffusion.randomness import normal

ITERATIONS = 15  # accurate to 0.5 % for norms and 2 % for eigenvalues, where power iteration needs more than 60
TOLERANCE = 0.01  # of norms and eigenvalues; clipped pixels have exactly 1 in the first step
DIRECTIONS = 2  # random directions per region
FIRST_STEPS, MAX_STEPS = 5, 25  # the first steps are always measured, and at most MAX_STEPS in total
BATCH_SIZE = 8  # the activations of a batch are held for derivatives
COLUMNS = ("prefactor", "norm", "radius", "rightmost", "gain_plain", "rayleigh_plain", "gain_other", "rayleigh_other")


@dataclass(frozen=True)
class Contraction:
    """Spectra of J, and gains of random unit directions v that are supported in plain or in other pixels of x_0.

    `steps` contains for every measured step the mean and standard deviation over images of the spectral norm, the
    spectral radius, `rightmost`, the largest real part of an eigenvalue, the gain ‖J·v‖ and the Rayleigh quotient
    vᵀ·J·v. `largest_…` are the largest of these means over steps. Gains are None if there are no such pixels.

    `expanding` is the fraction of all images and steps with a norm above 1. `folding` is the fraction of images with an
    eigenvalue above 1 at some step, where the sampling step, whose Jacobian is (α_s/α_t)·(I − J), may reverse
    orientation: a continuous map that does so only in places is not injective.
    """

    largest_norm: float
    largest_radius: float
    largest_gain_plain: float | None
    largest_gain_other: float | None
    expanding: float
    folding: float
    steps: dict[str, list[int] | list[float] | list[float | None]]


def contraction(generations: Generations, *, contraction_images: int, plain_threshold: float) -> Contraction:
    """Compute spectra and gains at the exact x_t of at most MAX_STEPS inverse steps.

    The network computes in float32. If the model's sampler clips x_0, J includes the clipping.
    """
    chosen = chosen_steps(generations.options.ddim_steps)

    def run(path: Sequence[ExactStep]) -> Tensor:
        plain = plain_mask(path[0].x_s, plain_threshold)[:, None]
        return torch.stack([_measure_step(path[index], plain) for index in chosen], dim=1)

    values = along_exact_path(generations, contraction_images, run, BATCH_SIZE)  # [N, S, columns]
    by_name = dict(zip(COLUMNS, values.unbind(dim=2), strict=True))
    steps = exact_steps(generations)
    return Contraction(
        largest_norm=by_name["norm"].mean(dim=0).max().item(),
        largest_radius=by_name["radius"].mean(dim=0).max().item(),
        largest_gain_plain=_largest(by_name["gain_plain"]),
        largest_gain_other=_largest(by_name["gain_other"]),
        expanding=(by_name["norm"] > 1 + TOLERANCE).double().mean().item(),
        folding=has_fold(by_name["rightmost"]).double().mean().item(),
        steps={
            "number": [index + 1 for index in chosen],
            "timestep": [steps[index].timestep for index in chosen],
            "prefactor": by_name.pop("prefactor")[0].tolist(),
            **_statistics(by_name),
        },
    )


def has_fold(rightmost: Tensor) -> Tensor:
    """Return whether images [N] have an eigenvalue above 1 at some step, given the largest real parts [N, S]."""
    return (rightmost > 1 + TOLERANCE).any(dim=1)


def chosen_steps(steps: int) -> list[int]:
    """Return the indices of the measured steps, 0 at the image: the first FIRST_STEPS, and evenly spaced ones."""
    if steps <= MAX_STEPS:
        return list(range(steps))
    others = torch.linspace(FIRST_STEPS - 1, steps - 1, MAX_STEPS - FIRST_STEPS + 1).round().int().tolist()
    return sorted({*range(FIRST_STEPS), *others})


def _largest(values: Tensor) -> float | None:
    """Return the largest mean over images of values [N, S]; None if all images are NaN."""
    largest = values.nanmean(dim=0).max()
    return largest.item() if largest.isfinite() else None


def _statistics(by_name: dict[str, Tensor]) -> dict[str, list[float | None]]:
    """Return mean and standard deviation over images of values [N, S], per step; None if all values are NaN."""
    lists: dict[str, list[float | None]] = {}
    for name, values in by_name.items():
        columns = [column[column.isfinite()] for column in values.T]
        lists[name] = [column.mean().item() if len(column) else None for column in columns]
        lists[f"{name}_std"] = [column.std(correction=0).item() if len(column) else None for column in columns]
    return lists


# --- one step


def _measure_step(exact: ExactStep, plain: Tensor) -> Tensor:
    """Return the columns [n, columns] of one step; `plain` is the mask [n, 1, H, W] of plain pixels."""
    jacobian = exact.jacobian()
    start, *directions = _directions(1 + DIRECTIONS, exact.x_t)
    iterations = min(ITERATIONS, start[0].numel())
    eigenvalues = ritz_values(jacobian.transposed, start.flatten(1), iterations)  # those of J, at less cost
    columns = [
        torch.full_like(start[:, 0, 0, 0], exact.prefactor),
        spectral_norm(jacobian.product, jacobian.transposed, start.flatten(1), iterations),
        eigenvalues.abs().amax(dim=1),
        eigenvalues.real.amax(dim=1),
    ]
    for mask in (plain, ~plain):
        columns += gains(jacobian.product, [(mask * direction).flatten(1) for direction in directions])
    return torch.stack([column.to(start) for column in columns], dim=1)


def _directions(count: int, like: Tensor) -> Iterator[Tensor]:
    """Yield fixed random directions, the same for all images, each expanded to the shape [n, C, H, W] of `like`."""
    vectors = normal(tuple(like.shape[1:]), 0, "directions", ((i,) for i in range(count))).to(like)
    return (vector.expand_as(like) for vector in vectors)


def gains(product: Product, directions: Sequence[Tensor]) -> list[Tensor]:
    """Return the means over directions v [n, D], scaled to norm 1, of ‖A·v‖ and of vᵀ·A·v; NaN if a direction is 0."""
    units = [direction / direction.norm(dim=1, keepdim=True) for direction in directions]
    images = [product(unit) for unit in units]
    norms = [image.norm(dim=1) for image in images]
    quotients = [(unit * image).sum(dim=1) for unit, image in zip(units, images, strict=True)]
    return [torch.stack(values).mean(dim=0) for values in (norms, quotients)]


# --- spectra by Krylov spaces


def spectral_norm(product: Product, transposed: Product, start: Tensor, iterations: int) -> Tensor:
    """Return the largest singular value [n] of matrices A, given v ↦ A·v and u ↦ Aᵀ·u for vectors [n, D].

    Golub–Kahan bidiagonalization with full reorthogonalization: the largest singular value of UᵀAV, which approaches
    that of A from below. Source: Golub & Kahan (1965).
    """
    images, vector = list[Tensor](), start
    right = left = start.new_zeros(len(start), 0, start.shape[1])
    for _ in range(iterations):
        right = extend(right, vector)
        images.append(product(right[:, -1]))
        left = extend(left, images[-1])
        vector = transposed(left[:, -1])
    return torch.linalg.matrix_norm(_project(left, images), 2)


def ritz_values(product: Product, start: Tensor, iterations: int) -> Tensor:
    """Return estimates of the outermost eigenvalues of matrices A, complex [n, iterations].

    Arnoldi iteration: the eigenvalues of VᵀAV for an orthonormal basis V of the Krylov space of `start` [n, D], which
    include complex pairs. Source: Arnoldi (1951); Saad (2011), chapter 6.
    """
    images, vector = list[Tensor](), start
    basis = start.new_zeros(len(start), 0, start.shape[1])
    for _ in range(iterations):
        basis = extend(basis, vector)
        vector = product(basis[:, -1])
        images.append(vector)
    return torch.linalg.eigvals(_project(basis, images))


def extend(basis: Tensor, vector: Tensor) -> Tensor:
    """Append to orthonormal rows [n, k, D] the normalized part of vectors [n, D] that is orthogonal to them.

    Projecting twice makes it orthogonal up to rounding. If it vanishes up to rounding, because the rows already span
    an invariant space, the new row is zero.
    """
    part = vector
    for _ in range(2):
        part = part - torch.einsum("nk,nkd->nd", torch.einsum("nkd,nd->nk", basis, part), basis)
    norm, precision = part.norm(dim=1, keepdim=True), torch.finfo(vector.dtype).eps
    vanishes = norm <= 100 * precision * vector.norm(dim=1, keepdim=True)
    return torch.cat([basis, torch.where(vanishes, 0, part / norm)[:, None]], dim=1)


def _project(basis: Tensor, images: Sequence[Tensor]) -> Tensor:
    """Return the scalar products [n, k, k] of rows [n, k, D] and k images [n, D], float64 on the CPU."""
    return torch.einsum("njd,nkd->njk", basis, torch.stack(list(images), dim=1)).double().cpu()
