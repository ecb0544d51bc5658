"""`python -m launch.here CONFIG.yaml [key=value …]`: train one seed on all GPUs of this machine.

Without a GPU, time two training steps, estimate the total training time, and name the configuration for CPUs,
CONFIG_small.yaml, if there is one.
"""

import os
import sys
import time
from pathlib import Path

import torch

from configs.command import experiment_command
from configs.errors import UserError, run_command
from configs.load import load
from configs.schema import Experiment
from records.human import human_time

ALLOW_CPU = "cpu=yes"
SHUTDOWN_S = 600  # for the processes to take their steps up to the next logged one, and to save the state
PURPOSE = f"Train on all GPUs of this machine; {ALLOW_CPU} allows training without a GPU."


def main(arguments: list[str]) -> None:
    overrides = [argument for argument in arguments if argument != ALLOW_CPU]
    experiment = experiment_command("python -m launch.here", PURPOSE, overrides)
    gpus = torch.cuda.device_count()
    if gpus == 0 and ALLOW_CPU not in arguments:
        config = next(argument for argument in overrides if "=" not in argument)
        raise UserError(no_gpu_message(experiment, Path(config)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={max(gpus, 1)}"]
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(SHUTDOWN_S))  # torchrun kills them after 30 s otherwise
    sys.stdout.flush()
    # Not as a child process: torchrun receives Ctrl-C and SIGTERM itself, and the command ends after the training.
    os.execv(sys.executable, [*command, "-m", "train", *overrides])


def no_gpu_message(experiment: Experiment, config: Path) -> str:
    """Return the time that training would take, and the command that trains a small network instead."""
    advice, small = f"add {ALLOW_CPU} to train it anyway", config.with_stem(f"{config.stem}_small")
    if small.exists():
        advice = f"python -m train {small} trains a small network in {training_time(load(small))}, or {advice}"
    return (
        f"this machine has no GPU, and {experiment.train.steps:,} steps would take {training_time(experiment)} on its "
        f"{os.cpu_count()} cores; {advice}"
    )


def training_time(experiment: Experiment) -> str:
    return f"about {human_time(experiment.train.steps * step_seconds(experiment))}"


def step_seconds(experiment: Experiment, images: int = 8) -> float:
    """Return the seconds per training step, extrapolated from a batch of a few images after one warm-up step."""
    from diffusion.losses import GaussianDiffusion
    from diffusion.schedule import Schedule
    from models.unet import UNet

    model, diffusion = experiment.model, experiment.diffusion
    network = UNet.from_config(model, diffusion).eval()
    objective = GaussianDiffusion(Schedule.from_config(diffusion), diffusion.variance, diffusion.rescale_timesteps)
    x_0 = torch.zeros(images, model.in_channels, model.image_size, model.image_size)
    y = torch.zeros(images, dtype=torch.long) if model.num_classes else None
    for _ in range(2):
        started_s = time.monotonic()
        t = torch.arange(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=experiment.train.precision == "bf16"):
            loss = objective.losses(lambda x_t, t: network(x_t, t, y), x_0, t, torch.randn_like(x_0), "hybrid").loss
        loss.mean().backward()
        seconds = time.monotonic() - started_s
    return seconds * experiment.train.batch_size / images


run_command(main)
