"""`python -m benchmarks.inverters SOURCE [solver.OPTION=[…] …] [key=value …]`: inverters on many images.

Generates images by DDIM without clipping and prints quantiles of ‖x_T − x̂_T‖ over the images, and how many images
diverge or end farther from x_T than by naive inversion. Options are those of `python -m analyze inverters`;
`solver.window=[0,3,5]` runs each inverter once for each of these values of its option `window`, and several such lists
run all combinations.
"""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import yaml
from torch import Tensor

from analyze.commands.inverters import expand
from analyze.generate import invert
from analyze.generations import Generations
from analyze.measures.inverters import candidates_for
from analyze.model import denoiser_loader, model_analysis
from configs.errors import run_command
from configs.load import load_model_study
from diffusion.solvers.naive import Naive
from diffusion.solvers.solver import Solver
from models.source import add_call_hook, open_source

HEAD = (
    "| inverter | evaluations | mean | median | 95 % | 99 % | largest | above ‖x_T‖ | not finite | worse than naive |\n"
    "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def main(arguments: list[str]) -> None:
    grid = [argument.removeprefix("solver.") for argument in arguments if argument.startswith("solver.")]
    settings = [expand(argument) for argument in arguments[1:] if not argument.startswith("solver.")]
    study = load_model_study(arguments[0], settings)
    source, options = open_source(study), study.analyze
    load_denoiser = denoiser_loader(study, source, lambda images: None)
    analysis = model_analysis(study, source, load_denoiser, options.ddim_steps)
    generations = analysis.generations(analysis.last_step).unclipped(options.measures.inverter_images)
    print(HEAD)
    naive, evaluations = measure(generations, Naive(options.ddim_steps, generations.spacing, clip=False))
    print(row("naive (diffusers)", evaluations, naive, naive, generations["noise"]), flush=True)
    for label, solver in variants(generations, grid):
        errors, evaluations = measure(generations, solver)
        print(row(label, evaluations, errors, naive, generations["noise"]), flush=True)


def variants(generations: Generations, grid: Sequence[str]) -> Iterator[tuple[str, Solver]]:
    """Yield a label and a solver for every inverter and every combination of the values in the grid."""
    measures = generations.options.measures
    names = [setting.partition("=")[0] for setting in grid]
    lists = [yaml.safe_load(setting.partition("=")[2]) for setting in grid]
    for candidate in candidates_for(generations, measures.inverters, measures.inverter_nfe):
        if candidate.images == "DDIM":
            for values in itertools.product(*lists):
                changes: dict[str, Any] = dict(zip(names, values, strict=True))
                label = ", ".join([candidate.label, *(f"{name} = {value}" for name, value in changes.items())])
                yield label, dataclasses.replace(candidate.solver, **changes)  # type: ignore[type-var]


def measure(generations: Generations, solver: Solver) -> tuple[Tensor, float]:
    """Return ‖x_T − x̂_T‖ of each image [N], infinite if x̂_T is not finite, and the evaluations per image."""
    calls: list[int] = []
    denoisers = [add_call_hook(denoiser, calls.append) for denoiser in generations.denoisers]
    count = generations.options.measures.inverter_images
    x_0, x_T = generations["samples"][:count].clone(), generations["noise"][:count]
    latents = invert(denoisers, solver, x_0, generations.options, may_diverge=True)
    return (latents - x_T).double().flatten(1).norm(dim=1).nan_to_num(torch.inf), sum(calls) / len(x_0)


def row(label: str, evaluations: float, errors: Tensor, naive: Tensor, noise: Tensor) -> str:
    """Return one row of the table: statistics of the errors [N] next to those of naive inversion [N]."""
    quantiles = [errors.quantile(q, interpolation="nearest") for q in (0.5, 0.95, 0.99, 1.0)]
    norms = noise[: len(errors)].double().flatten(1).norm(dim=1)
    counts = [errors > norms, errors.isinf(), errors > naive]
    numbers = [f"{value:.3g}" for value in (evaluations, errors.mean(), *quantiles)]
    return " | ".join([f"| {label}", *numbers, *(f"{int(count.sum())}" for count in counts)]) + " |"


if __name__ == "__main__":
    run_command(main)
