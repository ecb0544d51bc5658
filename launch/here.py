"""python -m launch.here CONFIG.yaml [key=value …]: trains one seed on this machine with all its GPUs.

Without a GPU it measures two steps, says how long the training would take, and names a setting that is small enough.
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

REDUCED = "model.model_channels=32 model.num_res_blocks=1 train.batch_size=32 train.steps=5000 train.lr=2e-4"
CPU_ALLOWED = "cpu=yes"
PURPOSE = f"Trains on this machine with all its GPUs; with {CPU_ALLOWED} also where there is none."


def main(arguments: list[str]) -> None:
    on_cpu = CPU_ALLOWED in arguments
    arguments = [argument for argument in arguments if argument != CPU_ALLOWED]
    experiment = experiment_command("python -m launch.here", PURPOSE, arguments)
    gpus = torch.cuda.device_count()
    if gpus == 0 and not on_cpu:
        raise UserError(without_gpu(experiment))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={max(gpus, 1)}"]
    sys.exit(subprocess.call([*command, "-m", "train", *arguments]))


def without_gpu(experiment: Experiment) -> str:
    duration = human_time(experiment.train.steps * step_seconds(experiment))
    return (
        f"this machine has no GPU, and {experiment.train.steps:,} steps would take about {duration} on its "
        f"{os.cpu_count()} cores; a reduced setting for a look: make train-cifar ARGS='{CPU_ALLOWED} {REDUCED} "
        f"name={experiment.name}_reduced', or go on as asked with {CPU_ALLOWED}"
    )


def step_seconds(experiment: Experiment, images: int = 8) -> float:
    """Seconds of a training step, extrapolated from one of a few images after one to warm up."""
    from diffusion.losses import GaussianDiffusion
    from diffusion.schedule import Schedule
    from models.unet import UNet

    model, diffusion = experiment.model, experiment.diffusion
    network = UNet.of(model, diffusion).eval()
    objective = GaussianDiffusion(Schedule.of(diffusion), diffusion.variance, diffusion.rescale_timesteps)
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
