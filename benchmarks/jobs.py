"""Overhead of a job (start, opening checkpoints), speed of the data loader, and growth of the cost of generating."""

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
from benchmarks.memory import peak_gib, reset_peak
from configs.schema import Experiment
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.solvers.ddim import Ddim
from models.compiled import optimize_inference
from models.open import open_checkpoint
from records import checkpoint

CHECKPOINTS = 3


def overhead(experiment: Experiment, device: torch.device) -> dict[str, float]:
    """Return the compute seconds of starting an analysis and of opening the first and a further checkpoint, in bf16."""
    command = [sys.executable, "-c", "import analyze.analysis"]
    start_s = _compute_seconds(lambda: subprocess.run(command, check=True))
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / str(step) for step in range(CHECKPOINTS)]
        weights = network_of(experiment, torch.device("cpu")).state_dict()
        for step, path in enumerate(paths):
            checkpoint.write(path, step, 0, experiment.model, experiment.diffusion, {"model": weights})
        first_s, *further_s = [_compute_seconds(lambda path=path: _load(path, device)) for path in paths]
    return {
        "python and imports": start_s,
        "first checkpoint": first_s,
        "further checkpoint": sum(further_s) / len(further_s),
    }


def _load(path: Path, device: torch.device) -> None:
    """Open a checkpoint and copy its weights to the network that runs."""
    denoiser = optimize_inference(open_checkpoint(path, "model", device), "bf16", False)
    denoiser.network.compiled.swap_weights(denoiser.network)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def loader_speed(experiment: Experiment, batch: int, device: torch.device, batches: int = 50) -> float:
    """Return the images per compute second of loading batches and moving them to the device."""
    small = dataclasses.replace(experiment.model, model_channels=32, num_res_blocks=1)
    loader = new_trainer(dataclasses.replace(experiment, model=small), batch_size=batch, precision="fp32").loader
    loader.load(0)
    compute_s = _compute_seconds(lambda: [loader.to_device(loader.load(step)) for step in range(batches)])
    return batch * batches / compute_s


def growth(experiment: Experiment, device: torch.device, images: int = 32) -> dict[str, dict[int, tuple[float, float]]]:
    """Measure generating with growing N, T and numbers of checkpoints: compute seconds and peak memory [GiB].

    The network is the experiment's with 32 channels and one residual block per level.
    """
    model = dataclasses.replace(experiment.model, model_channels=32, num_res_blocks=1)
    small = dataclasses.replace(experiment, model=model)
    options = dataclasses.replace(experiment.analyze, batch_size=images, ddim_steps=10)

    def run(count: int, ddim_steps: int, denoiser: Denoiser) -> None:
        noise = fixed_noise(denoiser.shape, count, 0)
        sample([denoiser], Ddim(ddim_steps), noise, options)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0"
        weights = {"model": network_of(small, torch.device("cpu")).state_dict()}
        checkpoint.write(path, 0, 0, small.model, small.diffusion, weights)

        def denoiser() -> Denoiser:
            return optimize_inference(open_checkpoint(path, "model", device), "bf16", False)

        run(images, 10, denoiser())  # warm up
        return {
            "N": {n * images: _measure(lambda n=n: run(n * images, 10, denoiser())) for n in (1, 2, 4, 8)},
            "T": {t: _measure(lambda t=t: run(images, t, denoiser())) for t in (10, 20, 40, 80)},
            "checkpoints": {
                c: _measure(lambda c=c: [run(images, 10, denoiser()) for _ in range(c)]) for c in (1, 2, 4, 8)
            },
        }


def _measure(run: Callable[[], object]) -> tuple[float, float]:
    """Return the compute seconds and the peak memory [GiB] of a call."""
    reset_peak()
    return _compute_seconds(run), peak_gib()


def _compute_seconds(run: Callable[[], object]) -> float:
    """Return the CPU time of a call and of its child processes, or its wall-clock time on a machine with a GPU."""
    start_s = _compute_time()
    run()
    return _compute_time() - start_s


def _compute_time() -> float:
    if torch.cuda.is_available():
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
