"""Error of naive inversion by step: made in each step, predicted by its Jacobian, and accumulated."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analyze.generations import Generations
from analyze.measures.exact_path import ExactStep, along_exact_path, exact_steps
from analyze.measures.plain_areas import plain_mask

FIRST_STEPS = 2  # to the second timestep; the first step alone hardly moves, because DDIM's first timestep is clean
BATCH_SIZE = 16  # all states of a batch and the activations of a network evaluation are held
DISTANCES = ("distance", "local", "predicted", "accumulated")
SQUARES = tuple(f"{name}_{part}" for name in ("distance", "local", "accumulated") for part in ("plain", "other"))
COLUMNS = ("prefactor", *DISTANCES, *SQUARES, "plain_values", "other_values", "without_first")


@dataclass(frozen=True)
class StepError:
    """Errors of naive inversion, x_t = f(x_s) with f(y) = D(x_s, ε(y, t); s→t), in the convention of diffusers.

    `steps` contains for every step the means over images of four L2 norms: `distance` ‖x_s − x_t‖; the `local` error
    ‖f(x_s) − x_t‖ of a naive step from the exact x_s; its first-order prediction ‖J·(x_s − x_t)‖, `predicted`; and the
    `accumulated` error of an inversion from x_0. The distance and both errors follow as root mean squares over all
    plain and over all other values of all images, None if there are none.

    `error…` are the accumulated errors of the last step. `worst_step` is the step with the largest local error, counted
    from 1, and `worst_relative` that with the largest local error relative to σ_t. `first_share` is the fraction of
    `error` that vanishes if the inversion starts from the exact state after FIRST_STEPS steps. `correlation` is the
    Pearson correlation of the logarithms of predicted and local errors over all images and steps, and `slope` the s
    that minimizes Σ (local − s·predicted)²; both are None if no step makes an error.
    """

    error: float
    error_plain: float | None
    error_other: float | None
    worst_step: int
    worst_relative: int
    first_share: float | None
    correlation: float | None
    slope: float | None
    steps: dict[str, list[float] | list[float | None]]


def step_error(generations: Generations, *, step_error_images: int, plain_threshold: float) -> StepError:
    """Compare naive inversion with the exact x_t after every step.

    The exact x_t are the states of the sampling trajectory, because the solution of x_t = f(x_t) may not be unique.
    Naive inversion places the image at ᾱ = 1 and ends at the level of x_T.
    """

    def run(path: Sequence[ExactStep]) -> Tensor:
        return _path_errors(path, plain_mask(path[0].x_s, plain_threshold)[:, None])

    values = along_exact_path(generations, step_error_images, run, BATCH_SIZE)  # [N, T, columns]
    by_name = dict(zip(COLUMNS, values.unbind(dim=2), strict=True))
    steps = exact_steps(generations)
    local, sigmas = by_name["local"].mean(dim=0), torch.tensor([step.end.sigma for step in steps]).double()
    means = {name: by_name[name].mean(dim=0).tolist() for name in DISTANCES}
    squares = {name: _root_mean_square(by_name, name) for name in SQUARES}
    return StepError(
        error=means["accumulated"][-1],
        error_plain=squares["accumulated_plain"][-1],
        error_other=squares["accumulated_other"][-1],
        worst_step=int(local.argmax()) + 1,
        worst_relative=int((local / sigmas).argmax()) + 1,
        first_share=_finite(1 - by_name["without_first"][:, -1].mean() / by_name["accumulated"][:, -1].mean()),
        correlation=_finite(log_correlation(by_name["predicted"], by_name["local"])),
        slope=_finite((by_name["predicted"] * by_name["local"]).sum() / by_name["predicted"].square().sum()),
        steps={
            "timestep": [step.timestep for step in steps],
            "sigma": sigmas.tolist(),
            "prefactor": by_name["prefactor"][0].tolist(),
            **means,
            **squares,
        },
    )


def _path_errors(path: Sequence[ExactStep], plain: Tensor) -> Tensor:
    """Return the columns [n, T, columns] of a path; `plain` is the mask [n, 1, H, W] of plain pixels."""
    x = without_first = path[0].x_s
    rows: list[Tensor] = []
    for number, exact in enumerate(path, start=1):
        x = exact.naive(x)
        without_first = exact.x_t if number <= FIRST_STEPS else exact.naive(without_first)
        local, predicted = _local_error(exact)
        prefactor = torch.full_like(x[:, 0, 0, 0], exact.prefactor)
        distance, accumulated = exact.x_s - exact.x_t, x - exact.x_t
        distances = [distance, local, predicted, accumulated]
        squares = [_sum_of_squares(d, mask) for d in (distance, local, accumulated) for mask in (plain, ~plain)]
        counts = [mask.expand_as(x).flatten(1).sum(dim=1) for mask in (plain, ~plain)]
        columns = [prefactor, *map(_norm, distances), *squares, *counts, _norm(without_first - exact.x_t)]
        rows.append(torch.stack(columns, dim=1))
    return torch.stack(rows, dim=1)


def _local_error(exact: ExactStep) -> tuple[Tensor, Tensor]:
    """Return f(x_s) − x_t and J·(x_s − x_t), [n, C, H, W] each.

    The first is B·σ_t·(ε(x_s, t) − ε(x_t, t)), which loses less precision than the difference of the states.
    """
    jacobian = exact.jacobian()
    with torch.no_grad():
        local = exact.eps_weight * (exact.equation.eps(exact.x_s) - jacobian.eps)
    return local, jacobian.product((exact.x_s - exact.x_t).flatten(1)).view_as(local)


def _norm(images: Tensor) -> Tensor:
    return images.flatten(1).norm(dim=1)


def _sum_of_squares(images: Tensor, mask: Tensor) -> Tensor:
    return (images.square() * mask).flatten(1).sum(dim=1)


def _root_mean_square(by_name: dict[str, Tensor], name: str) -> list[float | None]:
    """Return √(Σ squares / Σ number of values) over images, per step, for the region that ends the name."""
    count = by_name[f"{name.rpartition('_')[2]}_values"].sum(dim=0)
    roots = (by_name[name].sum(dim=0) / count).sqrt().tolist()
    return [root if values else None for root, values in zip(roots, count.tolist(), strict=True)]


def log_correlation(predicted: Tensor, measured: Tensor) -> Tensor:
    """Return the Pearson correlation of the logarithms of positive values; pairs with a 0 are left out."""
    is_positive = (predicted > 0) & (measured > 0)
    return torch.corrcoef(torch.stack([predicted[is_positive].log(), measured[is_positive].log()]))[0, 1]


def _finite(value: Tensor) -> float | None:
    return value.item() if value.isfinite() else None
