"""`python -m benchmarks.uniqueness SOURCE [key=value …]`: does an eigenvalue above 1 tell which noises are lost?

Generates images by DDIM without clipping, inverts them with the adaptive inverter, and prints for every image the
largest real part of an eigenvalue of the Jacobian J over all steps of its exact path (see docs/inversion_errors.md),
next to the error of the recovered noise and of the reconstruction. Options are those of `python -m analyze inverters`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from analyze.generate import invert, sample
from analyze.generations import Generations
from analyze.measures.contraction import ITERATIONS, ritz_values
from analyze.measures.exact_path import ExactStep, along_exact_path
from analyze.model import denoiser_loader, model_analysis
from configs.errors import run_command
from configs.load import load_model_study
from diffusion.randomness import normal
from diffusion.solvers import INVERTERS
from models.source import open_source

BATCH_SIZE = 8
INVERTER = "adaptive Anderson"
HEAD = "| image | largest real part | in step | ‖x_T − x̂_T‖ | ‖x_0 − DDIM(x̂_T)‖ |\n|--:|--:|--:|--:|--:|"


def main(arguments: list[str]) -> None:
    study = load_model_study(arguments[0], arguments[1:])
    source, options = open_source(study), study.analyze
    load_denoiser = denoiser_loader(study, source, lambda images: None)
    analysis = model_analysis(study, source, load_denoiser, options.ddim_steps)
    count = options.measures.inverter_images
    generations = analysis.generations(analysis.last_step).unclipped(count)
    largest, steps = largest_real_parts(generations, count).max(dim=1)
    errors, reconstructions = recover(generations, count)
    columns = zip(largest.tolist(), steps.tolist(), errors.tolist(), reconstructions.tolist(), strict=True)
    rows = [f"| {i} | {real:.3f} | {step + 1} | {a:.2g} | {b:.2g} |" for i, (real, step, a, b) in enumerate(columns)]
    print("\n".join([HEAD, *rows, "", summary(largest, errors)]))


def largest_real_parts(generations: Generations, count: int) -> Tensor:
    """Return the largest real part of an eigenvalue of J for each image and step [n, T]."""

    def run(path: Sequence[ExactStep]) -> Tensor:
        return torch.stack([_largest_real_part(exact) for exact in path], dim=1)

    return along_exact_path(generations, count, run, BATCH_SIZE)


def _largest_real_part(exact: ExactStep) -> Tensor:
    start = normal(tuple(exact.x_t.shape[1:]), 0, "directions", [(0,)]).to(exact.x_t).expand_as(exact.x_t).flatten(1)
    return ritz_values(exact.jacobian().transposed, start, ITERATIONS).real.amax(dim=1).to(start)


def recover(generations: Generations, count: int) -> tuple[Tensor, Tensor]:
    """Return the errors [n] of the recovered noise and of its reconstruction, by the adaptive inverter."""
    options, denoisers, inverter = generations.options, generations.denoisers, INVERTERS[INVERTER]
    solver = inverter.build(inverter.max_rounds, steps=options.ddim_steps, spacing=generations.spacing, clip=False)
    x_0, x_T = generations["samples"][:count], generations["noise"][:count]
    latents = invert(denoisers, solver, x_0, options, may_diverge=True)
    images = sample(denoisers, generations.sampler, latents, options)
    return (latents - x_T).flatten(1).norm(dim=1), (images - x_0).flatten(1).norm(dim=1)


def summary(largest: Tensor, errors: Tensor) -> str:
    """Return the errors of the images on both sides of 1 as one sentence."""
    sides = {"at most 1": errors[largest <= 1], "above 1": errors[largest > 1]}
    ranges = [
        f"{name}: {len(side)} images with errors from {side.min():.2g} to {side.max():.2g}"
        for name, side in sides.items()
        if len(side)
    ]
    return f"Largest real part {'; '.join(ranges)}."


if __name__ == "__main__":
    run_command(main)
