"""`python -m benchmarks.measures [measure …]`: time and peak memory of every measure, as a Markdown table.

Each measure runs in a separate process, on a GPU if available, so that peaks do not mix. The row "inputs alone" is the
peak of Python, torch and the inputs. The first checkpoint of a job includes the values that are cached for further
checkpoints, which depend only on the last checkpoint's images, and the initialization of a GPU.

Measures that run the network are measured with a random one of 1.7 M parameters, few images and few steps; their time
is proportional to all three.
"""

import argparse
import functools
import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from analyze.generations import ONLY_LAST, Generations
from analyze.measures import MEASURES
from analyze.measures.cka import cka
from analyze.measures.contraction import contraction
from analyze.measures.correlation import correlation, top_correlation
from analyze.measures.dino import dino
from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.forward_start import forward_start
from analyze.measures.hungarian import hungarian
from analyze.measures.interpolation import interpolation_map
from analyze.measures.knn_coverage import knn_coverage
from analyze.measures.mistakes import mapping_mistakes
from analyze.measures.noise_mapping import noise_mapping
from analyze.measures.plain_areas import plain_areas
from analyze.measures.reconstruction import reconstruction
from analyze.measures.self_interpolation import interpolation_distances
from analyze.measures.ssim import ssim
from analyze.measures.step_error import step_error
from analyze.measures.svcca import svcca
from analyze.measures.transport_gap import transport_gap
from analyze.measures.triangle import triangle
from analyze.settings import Setting
from benchmarks.memory import device_peak_gib
from benchmarks.timing import time_call
from configs.schema import Analyze, Diffusion, Model
from diffusion.denoiser import Denoiser
from models.open import as_denoiser
from models.unet import UNet

IMAGES = 2048
SIDES = (32, 64)  # D = 3,072 and 12,288
DINO_IMAGES = IMAGES if torch.cuda.is_available() else 64  # each image takes a pass through a vision transformer
TIMES, TRAJECTORIES = 20, 256  # in the interpolation map

FIRST, FURTHER, PEAK = "first [s]", "further [s]", "peak [GiB]"

Inputs = dict[str, Tensor]


def dino_with_random_weights(x: Inputs) -> object:
    return dino(x["samples"][:DINO_IMAGES], x["last_samples"][:DINO_IMAGES], dino_model=random_dino().name)


@functools.cache
def random_dino() -> tempfile.TemporaryDirectory:
    """Return the folder of a random network of the size of facebook/dino-vits16."""
    import transformers

    transformers.logging.disable_progress_bar()
    folder = tempfile.TemporaryDirectory()
    config = transformers.ViTConfig(hidden_size=384, num_attention_heads=6, intermediate_size=1536)
    transformers.ViTModel(config, add_pooling_layer=False).save_pretrained(folder.name)
    return folder


def interpolation_of_constant_trajectory(x: Inputs) -> object:
    """Compute the map of a trajectory whose states are views of the noise, which take no memory."""
    trajectory = x["noise"][None, :TRAJECTORIES].expand(TIMES, -1, -1, -1, -1)
    return interpolation_map(x["noise"], x["latents"], trajectory)


scales = itertools.count(1)


def unseen(samples: Tensor) -> Tensor:
    """Return slightly different images on each call, because assignments of the same images are cached."""
    return samples * (1 - 1e-4 * next(scales))


def self_interpolation(x: Inputs) -> object:
    """Compare 16 images at 7 λ with as many training images as there are samples."""
    training_images = (x["last_samples"] * 127.5 + 127.5).byte().cpu()
    return interpolation_distances(x["samples"][:112].unflatten(0, (7, 16)).cpu(), training_images)


MEASURED: dict[str, Callable[[Inputs], object]] = {
    "inputs alone": lambda x: None,
    "noise_mapping": lambda x: noise_mapping(x["noise"], x["samples"], mapping_images=1000),
    "hungarian": lambda x: hungarian(x["noise"], unseen(x["samples"]), mapping_images=1000),
    "transport_gap": lambda x: transport_gap(x["noise"], unseen(x["samples"])),
    "knn_coverage": lambda x: knn_coverage(x["noise"], x["samples"], x["last_samples"], knn_k=50),
    "cka": lambda x: cka(x["samples"], x["last_samples"]),
    "svcca": lambda x: svcca(x["samples"], x["last_samples"]),
    "ssim": lambda x: ssim(x["samples"], x["last_samples"]),
    f"dino of {DINO_IMAGES:,} images": dino_with_random_weights,
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
    f"interpolation_map of {TRAJECTORIES} × {TIMES}": interpolation_of_constant_trajectory,
    "self_interpolation": self_interpolation,
    "mapping_mistakes": lambda x: mapping_mistakes(x["noise"], x["samples"]),
    "plain_areas": lambda x: plain_areas(x["noise"], x["samples"], x["latents"], plain_threshold=0.025),
}


def rows_of_analysis(kind: str) -> list[str]:
    """Return the rows of `MEASURED` that an analysis computes by default without running the network (FID is off).

    FIRST is the last checkpoint, with which all are compared; some measures are not computed for a FURTHER one.
    """
    measures = [measure for measure in MEASURES if not measure.needs_network]
    names = {measure.name for measure in measures if kind == FIRST or not ONLY_LAST & set(measure.inputs)}
    return [row for row in MEASURED if row.split(" ")[0] in names and not row.endswith("of all images")]


def seconds_of_analysis(rows: Mapping[str, Mapping[str, float]], kind: str) -> float:
    """Return the time of measuring a checkpoint, with DINO of all images, for the first also of those compared with."""
    (dino_row,) = (name for name in rows if name.startswith("dino"))
    images_s = rows[dino_row][FURTHER] * (IMAGES / DINO_IMAGES - 1) * (2 if kind == FIRST else 1)
    return images_s + sum(rows[name][kind] for name in rows_of_analysis(kind))


NETWORK_IMAGES, NETWORK_STEPS = 4, 5
NETWORK_SIZE = f" of {NETWORK_IMAGES} images, T = {NETWORK_STEPS}"
NETWORK_MEASURES: dict[str, Callable[[Inputs], object]] = {
    f"contraction{NETWORK_SIZE}": lambda x: contraction(
        random_generations(x), contraction_images=NETWORK_IMAGES, plain_threshold=0.025
    ),
    f"step_error{NETWORK_SIZE}": lambda x: step_error(
        random_generations(x), step_error_images=NETWORK_IMAGES, plain_threshold=0.025
    ),
    f"forward_start{NETWORK_SIZE}": lambda x: forward_start(
        random_generations(x), forward_start_images=NETWORK_IMAGES, plain_threshold=0.025
    ),
}


def random_generations(x: Inputs) -> Generations:
    """Return the generations of a network with random weights, for images of the inputs' size."""
    side = x["noise"].shape[-1]
    options = Analyze(ddim_steps=NETWORK_STEPS)

    def load_denoiser(device: torch.device, optimized: bool = True) -> Denoiser:
        torch.manual_seed(0)
        model = Model(
            image_size=side, model_channels=32, num_res_blocks=1, attention_resolutions=[side // 2, side // 4]
        )
        network = UNet.from_config(model, Diffusion())
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        return as_denoiser(network.requires_grad_(False).eval().to(device), model, Diffusion(), device)

    return Generations(Path(), Setting.from_options(options, 0), options, load_denoiser)


def inputs(side: int) -> Inputs:
    """Return tensors [2048, 3, side, side] like those of an analysis; images are smooth, so pixels correlate."""
    generator = torch.Generator().manual_seed(0)

    def randn(size: int) -> Tensor:
        return torch.randn(IMAGES, 3, size, size, generator=generator)

    noise, smooth = randn(side), F.interpolate(randn(8), (side, side), mode="bilinear")
    samples = (smooth + 0.05 * noise).clamp(-1, 1)
    last_samples = (smooth + 0.1 * noise).clamp(-1, 1)
    return {"noise": noise, "samples": samples, "last_samples": last_samples, "latents": 0.9 * noise + 0.2 * samples}


def measure(name: str, side: int) -> dict[str, float]:
    """Measure seconds for a job's first and a further checkpoint, and peak memory [GiB], in this process."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tensors = {key: tensor.to(device) for key, tensor in inputs(side).items()}
    first_s, further_s = (
        time_call(lambda: {**MEASURED, **NETWORK_MEASURES}[name](tensors), device)[0] for _ in range(2)
    )
    return {FIRST: first_s, FURTHER: further_s, PEAK: device_peak_gib(device)}


def measure_in_subprocess(name: str, side: int) -> dict[str, float]:
    """Run `measure` in a new process."""
    command = [sys.executable, "-m", "benchmarks.measures", name, "--here", str(side)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[1])
    return json.loads(process.stdout.splitlines()[-1])


def main() -> None:
    names = [*MEASURED, *NETWORK_MEASURES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="measure", help=", ".join(names))
    parser.add_argument("--here", type=int, metavar="SIDE", help="measure in this process and print JSON")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(names)
    if unknown:
        parser.error(f"unknown measure: {', '.join(sorted(unknown))}; choose from {', '.join(names)}")
    if arguments.here:
        print(json.dumps(measure(arguments.names[0], arguments.here)))
        return
    print(f"N = {IMAGES:,}, {torch.get_num_threads()} thread(s), torch {torch.__version__}\n")
    heads = [f"D = {3 * side**2:,}: {unit}" for side in SIDES for unit in (FIRST, FURTHER, PEAK)]
    print("| measure | " + " | ".join(heads) + " |\n|---|" + "--:|" * len(heads))
    for name in arguments.names or names:
        results = [measure_in_subprocess(name, side) for side in SIDES]
        cells = [f"{value:.2f}" for result in results for value in result.values()]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
