"""`python -m launch.here CONFIG.yaml [key=value …]`: train one seed on all GPUs of this machine.

Without a GPU, time two training steps, estimate the total training time and suggest smaller settings.
"""

import os
import subprocess
import sys
import time

import torch

from configs.command import experiment_command
from configs.errors import UserError, run_command
from configs.schema import Experiment
from records.human import human_time

SMALL = (
    "model.model_channels=32 model.num_res_blocks=1 train.batch_size=32 train.steps=5000 train.lr=2e-4 "
    "train.precision=fp32"
)
ALLOW_CPU = "cpu=yes"
PURPOSE = f"Train on all GPUs of this machine; {ALLOW_CPU} allows training without a GPU."


def main(arguments: list[str]) -> None:
    overrides = [argument for argument in arguments if argument != ALLOW_CPU]
    experiment = experiment_command("python -m launch.here", PURPOSE, overrides)
    gpus = torch.cuda.device_count()
    if gpus == 0 and ALLOW_CPU not in arguments:
        raise UserError(no_gpu_message(experiment))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={max(gpus, 1)}"]
    sys.exit(subprocess.call([*command, "-m", "train", *overrides]))


def no_gpu_message(experiment: Experiment) -> str:
    duration = human_time(experiment.train.steps * step_seconds(experiment))
    return (
        f"this machine has no GPU, and {experiment.train.steps:,} steps would take about {duration} on its "
        f"{os.cpu_count()} cores; for a quick look, train a small model: make train-cifar ARGS='{ALLOW_CPU} {SMALL} "
        f"name={experiment.name}_small', or add {ALLOW_CPU} to train this one anyway"
    )


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
        loss = objective.losses(lambda x_t, t: network(x_t, t, y), x_0, t, torch.randn_like(x_0), "hybrid").loss
        loss.mean().backward()
        seconds = time.monotonic() - started_s
    return seconds * experiment.train.batch_size / images


run_command(main)
