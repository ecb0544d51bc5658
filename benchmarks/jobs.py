"""What a job costs beside generating: start, opening checkpoints, compiling; the loader alone; and how costs grow."""

import dataclasses
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from analyze.generate import sample
from benchmarks.contenders import network_of, new_trainer
from benchmarks.memory import forget_peak, peak_gib
from configs.schema import Experiment
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from models.compiled import optimize_inference
from models.open import open_checkpoint_folder
from records import checkpoint

CHECKPOINTS = 3


def overhead(experiment: Experiment, device: torch.device) -> dict[str, float]:
    """Busy seconds of a Python that imports an analysis, and of opening the first and a further checkpoint, in bf16."""
    start = [sys.executable, "-c", "import analyze.analysis"]
    found = {"python and imports": _busy(lambda: subprocess.run(start, check=True))}
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(step) for step in range(CHECKPOINTS)]
        weights = network_of(experiment, torch.device("cpu")).state_dict()
        for step, path in enumerate(paths):
            checkpoint.write(path, step, 0, experiment.model, experiment.diffusion, {"model": weights})
        opened = [_busy(lambda path=path: _ready(path, device)) for path in paths]
    return found | {"first checkpoint": opened[0], "further checkpoint": sum(opened[1:]) / len(opened[1:])}


def _ready(path: Path, device: torch.device) -> None:
    """A checkpoint opened, and its weights where they are computed with."""
    denoiser = optimize_inference(open_checkpoint_folder(path, "model", device), "bf16", False)
    denoiser.network.shared.swap_weights(denoiser.network)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def loader(experiment: Experiment, batch: int, device: torch.device, batches: int = 50) -> float:
    """Images per busy second of making batches and bringing them to the device, and of nothing else."""
    small = dataclasses.replace(experiment.model, model_channels=32, num_res_blocks=1)
    made = new_trainer(dataclasses.replace(experiment, model=small), batch_size=batch, precision="fp32").batches
    made.make(0)
    return batch * batches / _busy(lambda: [made.on_device(made.make(step)) for step in range(batches)])


def growth(experiment: Experiment, device: torch.device, images: int = 32) -> dict[str, dict[int, tuple[float, float]]]:
    """Busy seconds of generating with growing N, T and numbers of checkpoints, and the process's peak [GiB] meanwhile.

    Of a network like the experiment's but 32 channels wide.
    """
    model = dataclasses.replace(experiment.model, model_channels=32, num_res_blocks=1)
    small = dataclasses.replace(experiment, model=model)
    options = dataclasses.replace(experiment.analyze, batch_size=images, ddim_steps=10)

    def run(count: int, ddim_steps: int, denoisers: list[Denoiser]) -> None:
        for denoiser in denoisers:
            noise = fixed_noise(denoiser.shape, count, 0)
            sample([denoiser], Ddim(ddim_steps), noise, options)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0"
        weights = {"model": network_of(small, torch.device("cpu")).state_dict()}
        checkpoint.write(path, 0, 0, small.model, small.diffusion, weights)

        def opened(count: int) -> list[Denoiser]:
            return [
                optimize_inference(open_checkpoint_folder(path, "model", device), "bf16", False) for _ in range(count)
            ]

        run(images, 10, opened(1))  # warm
        return {
            "N": {n * images: _seen(lambda n=n: run(n * images, 10, opened(1))) for n in (1, 2, 4, 8)},
            "T": {t: _seen(lambda t=t: run(images, t, opened(1))) for t in (10, 20, 40, 80)},
            "checkpoints": {c: _seen(lambda c=c: [run(images, 10, opened(1)) for _ in range(c)]) for c in (1, 2, 4, 8)},
        }


def _seen(run: Callable[[], object]) -> tuple[float, float]:
    forget_peak()
    return _busy(run), peak_gib()


def _busy(run: Callable[[], object]) -> float:
    """Seconds that processors worked for a call, here and in processes that it waited for; with a GPU all seconds."""
    before_s = _worked()
    run()
    return _worked() - before_s


def _worked() -> float:
    if torch.cuda.is_available():
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
