"""Accuracy of every inverter by its number of network evaluations: `python -m benchmarks.inverters`.

Inverts images that DDIM generates with the trained reference network (tests/reference/trained32: 500 steps of
improved-diffusion on CIFAR-10) and writes benchmarks/results/inverters.md.
"""

import argparse
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks import timing
from benchmarks.precision import trained_denoiser
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers import INVERTERS
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import Solver, final_state
from models.source import add_call_hook

DIVERGED = 1.0  # error relative to the norm of the noise, from which an image counts as diverged
RESULTS = Path(__file__).parent / "results" / "inverters.md"


@dataclasses.dataclass(frozen=True)
class Result:
    """Errors of one inverter: ‖x_T − x̂_T‖ and ‖x_0 − DDIM(x̂_T)‖ per image [N], and its cost per image."""

    name: str
    evaluations: float
    errors: Tensor
    reconstruction: Tensor
    diverged: float
    seconds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16, help="number of images")
    parser.add_argument("--ddim-steps", type=int, default=20, metavar="T", help="DDIM steps")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="FILE", help="the Markdown file to write")
    arguments = parser.parse_args()
    denoiser = dataclasses.replace(trained_denoiser(torch.device("cpu")), clip=False)
    noise = fixed_noise(denoiser.shape, arguments.images, 0)
    ddim = Ddim(arguments.ddim_steps)
    images = final_state(ddim.sample(denoiser, noise))
    results = []
    for name, solver in variants(arguments.ddim_steps):
        results.append(evaluate(name, solver, denoiser, noise, images, ddim))
        print(row(results[-1]), flush=True)
    arguments.out.write_text(report(results, arguments.images, arguments.ddim_steps), encoding="utf-8")
    print(f"→ {arguments.out}")


def variants(ddim_steps: int) -> Iterator[tuple[str, Solver]]:
    """Yield every inverter, by name, with each of its round counts."""
    for name, inverter in INVERTERS.items():
        for rounds in inverter.rounds:
            yield (f"{name}, {rounds} rounds" if rounds else name), inverter.build(ddim_steps, rounds)


def evaluate(name: str, solver: Solver, denoiser: Denoiser, noise: Tensor, images: Tensor, ddim: Ddim) -> Result:
    """Invert the images, and sample again from their latents."""
    calls: list[int] = []
    started_s = time.monotonic()
    latents = final_state(solver.invert(add_call_hook(denoiser, calls.append), images.clone()))
    seconds = (time.monotonic() - started_s) / len(images)
    errors = (latents - noise).flatten(1).norm(dim=1)
    reconstruction = (final_state(ddim.sample(denoiser, latents)) - images).flatten(1).norm(dim=1)
    is_diverged = ~(errors < DIVERGED * noise.flatten(1).norm(dim=1))
    return Result(name, sum(calls) / len(images), errors, reconstruction, is_diverged.double().mean().item(), seconds)


def row(result: Result) -> str:
    """Return a line of the Markdown table."""
    median, p95 = (result.errors.double().quantile(q).item() for q in (0.5, 0.95))
    return (
        f"| {result.name} | {result.evaluations:.1f} | {result.errors.mean():.2e} | {median:.2e} | {p95:.2e} | "
        f"{result.reconstruction.mean():.2e} | {result.diverged:.0%} | {result.seconds:.2f} |"
    )


ABOUT = """\
{images} images that DDIM with T = {ddim_steps} steps, without clipping, generates in float32 with the trained reference
network (500 training steps on CIFAR-10). So short a training checks arithmetic; it does not support claims about
trained models. Errors are L2 norms per image: ‖x_T − x̂_T‖, and ‖x_0 − DDIM(x̂_T)‖ after sampling again. An image has
diverged if its error exceeds ‖x_T‖. Coupled samplers (EDICT, BDIA, O-BELM, Rex) start without the auxiliary state that
only their own sampling provides. A Jacobian–vector product of Newton–Krylov counts as one evaluation."""
HEADER = (
    "inverter",
    "evaluations",
    "error, mean",
    "median",
    "95th percentile",
    "reconstruction",
    "diverged",
    "s/image",
)


def report(results: list[Result], images: int, ddim_steps: int) -> str:
    """Return the Markdown page, ordered by evaluations per image and error."""
    ordered = sorted(results, key=lambda result: (result.evaluations, result.errors.mean().item()))
    return "\n".join(
        [
            "# Inverters: accuracy by number of network evaluations",
            "",
            f"`python -m benchmarks.inverters --images {images} --ddim-steps {ddim_steps}`",
            "",
            ABOUT.format(images=images, ddim_steps=ddim_steps),
            "",
            f"| {' | '.join(HEADER)} |",
            "|---|" + "--:|" * (len(HEADER) - 1),
            *map(row, ordered),
            "",
            f"Machine: {timing.machine()}",
            "",
        ]
    )


if __name__ == "__main__":
    main()
