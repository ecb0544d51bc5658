"""`python -m benchmarks.precision [--ddim-steps T …] [--images N …]`: effect of bf16 on the paper's Tables 1 to 3.

Generates images and latents from the same noise in float32 and in bf16 with the trained network in tests/reference,
and compares every measure in those tables. On a GPU, also compares TF32. Writes benchmarks/results/precision.md.
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

from analyze.generate import batch_size, invert, sample
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
MAX_RELATIVE_DIFFERENCE = 0.005  # of distances and angles
MAX_ACCURACY_DIFFERENCE = 0.003
BOOTSTRAP_DRAWS = 40
WARM_UP_STEPS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ddim-steps", type=int, nargs="+", default=[10, 100, 1000], metavar="T")
    parser.add_argument("--images", type=int, nargs="+", default=[2048, 256, 16], metavar="N", help="images for each T")
    parser.add_argument("--out", type=Path, default=HERE / "results", metavar="FOLDER")
    parser.add_argument("--compile", action="store_true", help="compile the networks: faster, same numbers")
    arguments = parser.parse_args()
    if len(arguments.images) != len(arguments.ddim_steps):
        parser.error("--images and --ddim-steps must have the same number of values")
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    others: list[Precision] = ["bf16", "tf32"] if device.type == "cuda" else ["bf16"]
    lines = [*HEAD, f"{timing.describe(timing.machine())}. `python -m benchmarks.precision`"]
    for ddim_steps, images in zip(arguments.ddim_steps, arguments.images, strict=True):
        options = Analyze(samples=images, ddim_steps=ddim_steps, compile=arguments.compile)
        values = {
            precision: dict(quantities(trained_denoiser(device), dataclasses.replace(options, precision=precision)))
            for precision in ("fp32", *others)
        }
        for other in others:
            title = f"## {other}, T = {ddim_steps:,}, N = {images:,}"
            lines += ["", title, "", *table(values["fp32"], values[other], other)]
        (arguments.out / "precision.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


HEAD = [
    "# Effect of reduced precision",
    "",
    "The same noise in float32 and in another precision, with the network that improved-diffusion's script trained for",
    "500 steps (tests/reference/trained32). Allowed: 0.5 % of each distance and angle, 0.3 percentage points of each",
    "accuracy. The most probable triangle (Figure 2) is a mode over whole degrees; the last rows show its standard",
    "deviation over bootstrap draws of the images.",
    "",
]


def trained_denoiser(device: torch.device) -> Denoiser:
    config = json.loads(TRAINED.with_suffix(".json").read_text())
    model, diffusion = Model(**config["model"]), Diffusion(**config["diffusion"])
    network = UNet.from_config(model, diffusion)
    network.load_state_dict(load_file(TRAINED.with_suffix(".safetensors")))
    return as_denoiser(network.requires_grad_(False).eval().to(device), model, diffusion, device)


def quantities(denoiser: Denoiser, options: Analyze) -> Iterator[tuple[str, float]]:
    """Yield every number of Tables 1 to 3 in the options' precision, and the reconstruction errors for comparison.

    The seconds are those of generating, without the first batch, which compiles the network.
    """
    denoiser = optimize_inference(denoiser, options.precision, options.compile)
    noise = fixed_noise(denoiser.shape, options.samples, options.noise_seed)
    ddim = Ddim(options.ddim_steps, clip=options.clip_denoised)
    sample([denoiser], Ddim(WARM_UP_STEPS), noise[: batch_size([denoiser], len(noise), options)], options)
    start = time.monotonic()
    samples = sample([denoiser], ddim, noise, options)
    latents = invert([denoiser], ddim, samples, options)
    reconstructions = sample([denoiser], ddim, latents, options)
    yield "seconds", time.monotonic() - start
    results = {
        "noise_mapping": noise_mapping(noise, samples, mapping_images=options.samples),
        "distances": distances(noise, samples, latents),
        "triangle": triangle(noise, samples, latents),
        "correlation": correlation(noise, samples, latents, correlation_images=options.samples),
        "reconstruction": reconstruction(samples, reconstructions),
    }
    for measure, result in results.items():
        for name, value in dataclasses.asdict(result).items():
            if isinstance(value, float):
                yield f"{measure}/{name}", value
    yield from bootstrap_stds(noise, samples, latents)


def bootstrap_stds(noise: Tensor, samples: Tensor, latents: Tensor) -> Iterator[tuple[str, float]]:
    """Yield the std of the most probable triangle, a mode over whole degrees, over bootstrap draws."""
    generator, triangles = torch.Generator().manual_seed(0), []
    for _ in range(BOOTSTRAP_DRAWS):
        draw = torch.randint(len(noise), (len(noise),), generator=generator)
        triangles.append(triangle(noise[draw], samples[draw], latents[draw]))
    for corner in ("image", "noise", "latent"):
        name = f"{corner}_most_probable"
        yield (
            f"triangle/{name}_std over bootstrap draws",
            statistics.stdev(getattr(angles, name) for angles in triangles),
        )


def table(plain: dict[str, float], other: dict[str, float], name: str) -> list[str]:
    lines = [f"| quantity | fp32 | {name} | difference | allowed |", "|---|--:|--:|--:|---|"]
    for key, value in plain.items():
        difference = other[key] - value
        relative = difference / value if value else float("inf") if difference else 0.0
        allowed = verdict(key, difference, relative)
        lines.append(f"| {key} | {value:.5g} | {other[key]:.5g} | {100 * relative:+.3f} % | {allowed} |")
    return lines


def verdict(key: str, difference: float, relative: float) -> str:
    """Return whether a quantity is within its bound ("yes" or "NO"), or "" if it has none.

    A mode over whole degrees has no bound, because a change of one degree already exceeds it.
    """
    if "most_probable" in key:
        return ""
    if key.startswith("noise_mapping") and "std" not in key:
        return "yes" if abs(difference) <= MAX_ACCURACY_DIFFERENCE else "NO"
    if re.match(r"(distances|triangle)/", key) and "std" not in key:
        return "yes" if abs(relative) <= MAX_RELATIVE_DIFFERENCE else "NO"
    return ""


if __name__ == "__main__":
    main()
