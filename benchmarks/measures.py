"""python -m benchmarks.measures [measure …]: time and memory of every measure, as a Markdown table.

Each one runs in a process of its own, on a GPU where there is one, so that its peak of memory is its own: that of
Python, torch and the inputs is the row "inputs alone". The first checkpoint of a job pays for what is computed once,
of the last checkpoint's images, and for whatever a GPU begins with.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.measures.cka import cka
from analyze.measures.correlation import correlation, top_correlation
from analyze.measures.dino import dino
from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.interpolation import interpolation_map
from analyze.measures.knn_coverage import knn_coverage
from analyze.measures.mistakes import mapping_mistakes, plain_pixels
from analyze.measures.noise_mapping import noise_mapping
from analyze.measures.reconstruction import reconstruction
from analyze.measures.ssim import ssim
from analyze.measures.svcca import svcca
from analyze.measures.triangle import triangle
from benchmarks.memory import most_gib
from benchmarks.timing import seconds_of

IMAGES = 2048
SIDES = (32, 64)  # D = 3,072 and 12,288
DINO_IMAGES = IMAGES if torch.cuda.is_available() else 64  # a pass of a whole vision transformer for each of them
TIMES, TRAJECTORIES = 20, 256  # of the interpolation map

FIRST, FURTHER, PEAK = "first [s]", "further [s]", "peak [GiB]"

Inputs = dict[str, Tensor]


def dino_of_random_weights(x: Inputs) -> object:
    return dino(x["samples"][:DINO_IMAGES], x["last_samples"][:DINO_IMAGES], dino_model=random_weights().name)


@functools.cache
def random_weights() -> tempfile.TemporaryDirectory:
    """A network as large as facebook/dino-vits16."""
    import transformers

    transformers.logging.disable_progress_bar()
    folder = tempfile.TemporaryDirectory()
    config = transformers.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder.name)
    return folder


def map_of_a_trajectory(x: Inputs) -> object:
    """The straight way, seen at times that need no memory of their own."""
    trajectory = x["noise"][None, :TRAJECTORIES].expand(TIMES, -1, -1, -1, -1)
    return interpolation_map(x["noise"], x["latents"], trajectory)


MEASURED: dict[str, Callable[[Inputs], object]] = {
    "inputs alone": lambda x: None,
    "noise_mapping": lambda x: noise_mapping(x["noise"], x["samples"], mapping_images=1000),
    "knn_coverage": lambda x: knn_coverage(x["noise"], x["samples"], x["last_samples"], knn_k=50),
    "cka": lambda x: cka(x["samples"], x["last_samples"]),
    "svcca": lambda x: svcca(x["samples"], x["last_samples"]),
    "ssim": lambda x: ssim(x["samples"], x["last_samples"]),
    f"dino of {DINO_IMAGES:,} images": dino_of_random_weights,
    "triangle": lambda x: triangle(x["noise"], x["samples"], x["latents"]),
    "distances": lambda x: distances(x["noise"], x["samples"], x["latents"]),
    "early_inverter": lambda x: early_inverter(x["noise"], x["last_samples"], x["latents"]),
    "correlation of 1,000 images": lambda x: correlation(
        x["noise"], x["samples"], x["latents"], correlation_images=1000
    ),
    "correlation of all images": lambda x: correlation(
        x["noise"], x["samples"], x["latents"], correlation_images=IMAGES
    ),
    "top_correlation of all images": lambda x: top_correlation(x["samples"]),
    "reconstruction": lambda x: reconstruction(x["samples"], x["last_samples"]),
    f"interpolation_map of {TRAJECTORIES} × {TIMES}": map_of_a_trajectory,
    "mapping_mistakes": lambda x: mapping_mistakes(x["noise"], x["samples"]),
    "plain_pixels": lambda x: plain_pixels(x["samples"]),
}


def inputs(side: int) -> Inputs:
    """Tensors [2048, 3, side, side] like those of an analysis, with smooth images, so that their pixels correlate."""
    generator = torch.Generator().manual_seed(0)

    def drawn(size: int) -> Tensor:
        return torch.randn(IMAGES, 3, size, size, generator=generator)

    noise, smooth = drawn(side), F.interpolate(drawn(8), (side, side), mode="bilinear")
    samples = (smooth + 0.05 * noise).clamp(-1, 1)
    last_samples = (smooth + 0.1 * noise).clamp(-1, 1)
    return {"noise": noise, "samples": samples, "last_samples": last_samples, "latents": 0.9 * noise + 0.2 * samples}


def measure(name: str, side: int) -> dict[str, float]:
    """Seconds for a job's first checkpoint and for a further one, and the peak of memory, in this process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors = {key: tensor.to(device) for key, tensor in inputs(side).items()}
    first_s, further_s = (seconds_of(lambda: MEASURED[name](tensors), device)[0] for _ in range(2))
    return {FIRST: first_s, FURTHER: further_s, PEAK: most_gib(device)}


def measure_apart(name: str, side: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.measures", name, "--here", str(side)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="measure", help=", ".join(MEASURED))
    parser.add_argument("--here", type=int, metavar="SIDE", help="measure in this process, and print JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - MEASURED.keys()
    if unknown:
        parser.error(f"no such measure: {', '.join(sorted(unknown))}; there are {', '.join(MEASURED)}")
    if arguments.here:
        print(json.dumps(measure(arguments.names[0], arguments.here)))
        return
    print(f"N = {IMAGES:,}, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    heads = [f"D = {3 * side**2:,}: {unit}" for side in SIDES for unit in (FIRST, FURTHER, PEAK)]
    print("| measure | " + " | ".join(heads) + " |\n|---|" + "--:|" * len(heads))
    for name in arguments.names or MEASURED:
        found = [measure_apart(name, side) for side in SIDES]
        print(f"| {name} | " + " | ".join(f"{x:.2f}" for one in found for x in one.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
