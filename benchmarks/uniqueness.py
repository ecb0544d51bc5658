"""`python -m benchmarks.uniqueness SOURCE [key=value …]`: does an eigenvalue above 1 tell which noises are lost?

Generates images by DDIM without clipping, inverts them with two inverters and as many rounds as these allow, and prints
for every image the largest real part of an eigenvalue of the Jacobian J over all steps of its exact path (see
docs/inversion_errors.md), next to the errors of the recovered noises and of the reconstructions. Options are those of
`python -m analyze inverters`.
"""

import math
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
RECOVERED = 0.05  # error relative to the norm of noise
COMPARED = ("fixed point", "adaptive Anderson")
COLUMNS = [f"{name}: {error}" for name in COMPARED for error in ("‖x_T − x̂_T‖", "‖x_0 − DDIM(x̂_T)‖")]
HEAD = f"| image | largest real part | in step | {' | '.join(COLUMNS)} |\n|{'--:|' * (3 + len(COLUMNS))}"


def main(arguments: list[str]) -> None:
    study = load_model_study(arguments[0], arguments[1:])
    source, options = open_source(study), study.analyze
    load_denoiser = denoiser_loader(study, source, lambda images: None)
    analysis = model_analysis(study, source, load_denoiser, options.ddim_steps)
    count = options.measures.inverter_images
    generations = analysis.generations(analysis.last_step).unclipped(count)
    largest, steps = largest_real_parts(generations, count).max(dim=1)
    recovered = {name: recover(generations, count, name) for name in COMPARED}
    errors = torch.stack([column for pair in recovered.values() for column in pair], dim=1).tolist()
    print(HEAD)
    for i, row in enumerate(errors):
        print(f"| {i} | {largest[i]:.3f} | {int(steps[i]) + 1} | {' | '.join(f'{error:.2g}' for error in row)} |")
    for name, (distances, _) in recovered.items():
        print(f"\n{name}: {summary(largest, distances, RECOVERED * math.sqrt(generations['noise'][0].numel()))}")


def largest_real_parts(generations: Generations, count: int) -> Tensor:
    """Return the largest real part of an eigenvalue of J for each image and step [n, T]."""

    def run(path: Sequence[ExactStep]) -> Tensor:
        return torch.stack([_largest_real_part(exact) for exact in path], dim=1)

    return along_exact_path(generations, count, run, BATCH_SIZE)


def _largest_real_part(exact: ExactStep) -> Tensor:
    start = normal(tuple(exact.x_t.shape[1:]), 0, "directions", [(0,)]).to(exact.x_t).expand_as(exact.x_t).flatten(1)
    return ritz_values(exact.jacobian().transposed, start, ITERATIONS).real.amax(dim=1).to(start)


def recover(generations: Generations, count: int, name: str) -> tuple[Tensor, Tensor]:
    """Return the errors [n] of the noise that an inverter recovers and of its reconstruction."""
    options, denoisers, inverter = generations.options, generations.denoisers, INVERTERS[name]
    solver = inverter.build(inverter.max_rounds, steps=options.ddim_steps, spacing=generations.spacing, clip=False)
    x_0, x_T = generations["samples"][:count], generations["noise"][:count]
    latents = invert(denoisers, solver, x_0, options, may_diverge=True)
    images = sample(denoisers, generations.sampler, latents, options)
    return (latents - x_T).flatten(1).norm(dim=1), (images - x_0).flatten(1).norm(dim=1)


def summary(largest: Tensor, errors: Tensor, limit: float) -> str:
    """Return how many images on both sides of 1 have an error of at most `limit`."""
    sides = {"at most 1": errors[largest <= 1], "above 1": errors[largest > 1]}
    counts = [f"{name}: {int((side <= limit).sum())} of {len(side)} images recovered" for name, side in sides.items()]
    return f"largest real part {'; '.join(counts)} (error at most {limit:.2g})"


if __name__ == "__main__":
    run_command(main)
