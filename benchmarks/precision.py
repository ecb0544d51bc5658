"""python -m benchmarks.precision [--ddim-steps T …] [--images N …]: what bf16 changes in the paper's Tables 1 to 3.

Of the trained network in tests/reference: images and latents from the same noise in float32 and in bf16, and every
value of the measures that those tables hold, side by side. Writes benchmarks/results/precision.md.
"""

import argparse
import dataclasses
import json
import re
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from analyze.generate import invert, sample
from analyze.measures.correlation import correlation
from analyze.measures.distances import distances
from analyze.measures.noise_mapping import noise_mapping
from analyze.measures.reconstruction import reconstruction
from analyze.measures.triangle import triangle
from benchmarks import timing
from configs.schema import Analyze, Diffusion, Model
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from models.compiled import Precision, optimize_inference
from models.open import as_denoiser
from models.unet import UNet

HERE = Path(__file__).parent
TRAINED = HERE.parent / "tests" / "reference" / "trained32"
LARGEST_RELATIVE = 0.005  # of a distance and an angle
LARGEST_ACCURACY = 0.003
DRAWS = 40  # of the images, with replacement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ddim-steps", type=int, nargs="+", default=[10, 100, 1000], metavar="T")
    parser.add_argument("--images", type=int, nargs="+", default=[2048, 256, 16], metavar="N", help="for each T")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--compile", action="store_true", help="both compiled: the same numbers, sooner")
    arguments = parser.parse_args()
    if len(arguments.images) != len(arguments.ddim_steps):
        parser.error("--images takes as many numbers as --ddim-steps")
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    others: list[Precision] = ["bf16", "tf32"] if device.type == "cuda" else ["bf16"]
    lines = [*HEAD, f"{timing.described(timing.machine())}. `python -m benchmarks.precision`"]
    for ddim_steps, images in zip(arguments.ddim_steps, arguments.images, strict=True):
        options = Analyze(samples=images, ddim_steps=ddim_steps)
        values = {
            precision: dict(quantities(optimize_inference(trained(device), precision, arguments.compile), options))
            for precision in ("fp32", *others)
        }
        for other in others:
            title = f"## {other}, T = {ddim_steps:,}, N = {images:,}"
            lines += ["", title, "", *table(values["fp32"], values[other], other)]
        (arguments.out / "precision.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


HEAD = [
    "# What half precision changes",
    "",
    "The same noises, float32 and another precision, on what improved-diffusion's script trained for 500 steps",
    "(tests/reference/trained32). Allowed: 0.5 % of each distance and angle, 0.3 points of each accuracy. The most",
    "probable triangle (Figure 2) is a mode over whole degrees: how much it varies with the images drawn is below it.",
    "",
]


def trained(device: torch.device) -> Denoiser:
    about = json.loads(TRAINED.with_suffix(".json").read_text())
    model, diffusion = Model(**about["model"]), Diffusion(**about["diffusion"])
    network = UNet.of(model, diffusion)
    network.load_state_dict(load_file(TRAINED.with_suffix(".safetensors")))
    return as_denoiser(network.requires_grad_(False).eval().to(device), model, diffusion, device)


def quantities(denoiser: Denoiser, options: Analyze) -> Iterator[tuple[str, float]]:
    """Every number of Tables 1 to 3, and the errors of the images against which the others are small or large."""
    start = time.monotonic()
    noise = fixed_noise(denoiser.shape, options.samples, options.noise_seed)
    ddim = Ddim(options.ddim_steps, clip=options.clip_denoised)
    samples = sample([denoiser], ddim, noise, options)
    latents = invert([denoiser], ddim, samples, options)
    again = sample([denoiser], ddim, latents, options)
    yield "seconds", time.monotonic() - start
    found = {
        "noise_mapping": noise_mapping(noise, samples, mapping_images=options.samples),
        "distances": distances(noise, samples, latents),
        "triangle": triangle(noise, samples, latents),
        "correlation": correlation(noise, samples, latents, correlation_images=options.samples),
        "reconstruction": reconstruction(samples, again),
    }
    for measure, result in found.items():
        for name, value in dataclasses.asdict(result).items():
            if isinstance(value, float):
                yield f"{measure}/{name}", value
    yield from spreads(noise, samples, latents)


def spreads(noise: Tensor, samples: Tensor, latents: Tensor) -> Iterator[tuple[str, float]]:
    """How much the most probable triangle, a mode over whole degrees, varies when its images are drawn again."""
    generator, modes = torch.Generator().manual_seed(0), []
    for _ in range(DRAWS):
        drawn = torch.randint(len(noise), (len(noise),), generator=generator)
        modes.append(triangle(noise[drawn], samples[drawn], latents[drawn]))
    for corner in ("image", "noise", "latent"):
        name = f"{corner}_most_probable"
        yield f"triangle/{name}_std of other draws", statistics.stdev(getattr(one, name) for one in modes)


def table(plain: dict[str, float], other: dict[str, float], name: str) -> list[str]:
    lines = [f"| quantity | fp32 | {name} | difference | allowed |", "|---|--:|--:|--:|---|"]
    for key, value in plain.items():
        difference = other[key] - value
        relative = difference / value if value else float("inf") if difference else 0.0
        judged = verdict(key, difference, relative)
        lines.append(f"| {key} | {value:.5g} | {other[key]:.5g} | {100 * relative:+.3f} % | {judged} |")
    return lines


def verdict(key: str, difference: float, relative: float) -> str:
    """Whether a quantity that has a bound keeps it; a mode over whole degrees has none: one of them is more."""
    if "most_probable" in key:
        return ""
    if key.startswith("noise_mapping") and "std" not in key:
        return "yes" if abs(difference) <= LARGEST_ACCURACY else "NO"
    if re.match(r"(distances|triangle)/", key) and "std" not in key:
        return "yes" if abs(relative) <= LARGEST_RELATIVE else "NO"
    return ""


if __name__ == "__main__":
    main()
