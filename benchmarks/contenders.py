"""Who is timed: our plain and fast ways, improved-diffusion's own code, and diffusers' network with its DDIMScheduler.

All have the architecture of one experiment, and call the network once a step.
"""

import atexit
import contextlib
import dataclasses
import importlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.state import AcceleratorState
from torch import Tensor

from configs.schema import Experiment
from diffusion.denoiser import Denoiser
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models.compiled import Precision, allow_tf32, optimize_inference
from models.open import as_denoiser
from models.unet import UNet
from records.layout import seed_folder
from train.batches import BatchLoader
from train.data import ImageDataset
from train.signals import SignalFlags
from train.trainer import Trainer, new_accelerator

CALLS = 2  # of the network in a timed walk: the steps of DDIM are all alike
Run = Callable[[], Tensor | None]
Runs = dict[str, Run]

# Precision, and whether it is compiled. TF32 is nothing on a CPU.
OURS: dict[str, tuple[Precision, bool]] = {"ours fp32": ("fp32", False), "ours tf32": ("tf32", False)}
OURS |= {"ours bf16": ("bf16", False), "ours bf16 compiled": ("bf16", True)}


def network_of(experiment: Experiment, device: torch.device) -> UNet:
    """The experiment's network with random weights, none of them zero."""
    torch.manual_seed(0)
    network = UNet.of(experiment.model, experiment.diffusion)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network.requires_grad_(False).eval().to(device)


@dataclasses.dataclass
class Walker:
    """A contender on a fixed batch: one call of its network, CALLS steps from noise, CALLS steps of inversion."""

    eps: Run | None  # None: of other weights than ours, not to be compared
    sampling: Run
    inversion: Run


def walkers(experiment: Experiment, batch: int, device: torch.device, theirs: Any) -> dict[str, Walker]:
    network = network_of(experiment, device)
    plain = as_denoiser(network, experiment.model, experiment.diffusion, device)
    x = torch.randn(batch, *plain.shape, device=device)
    found: dict[str, Walker] = {}
    if theirs is not None:
        found["improved-diffusion fp32"] = their_walker(theirs, experiment, network, x)
    with contextlib.suppress(ImportError):
        found["diffusers fp32"] = diffusers_walker(experiment, x)
    for name, (precision, compiled) in ours(device).items():
        found[name] = our_walker(optimize_inference(plain, precision, compiled), precision, x)
    return found


def ours(device: torch.device) -> dict[str, tuple[Precision, bool]]:
    """Our ways that there are on a device."""
    return {name: way for name, way in OURS.items() if way[0] != "tf32" or device.type == "cuda"}


def our_walker(denoiser: Denoiser, precision: Precision, x: Tensor) -> Walker:
    step = len(denoiser.levels) // CALLS
    return Walker(
        in_precision(precision, torch.no_grad()(lambda: denoiser.output(x, step))),
        in_precision(precision, lambda: final_state(Ddim(CALLS).sample(denoiser, x))),
        in_precision(precision, lambda: final_state(Ddim(CALLS).invert(denoiser, x))),
    )


def in_precision(precision: str, run: Run) -> Run:
    """TF32 is a switch of the process: it is set before each run, where it makes a difference at all."""

    def switched() -> Tensor | None:
        allow_tf32(precision == "tf32")
        return run()

    return switched


def improved_diffusion(path: Path | None) -> Any:
    """The module improved_diffusion.script_util, from a checkout at `path` or installed; None where it is not."""
    if path is not None:
        sys.path.insert(0, str(path))
    try:
        return importlib.import_module("improved_diffusion.script_util")
    except ImportError:
        if path is not None:
            raise
        return None


def their_model(theirs: Any, experiment: Experiment, network: UNet, respacing: str) -> tuple[Any, Any]:
    """Its network, with our weights, and its diffusion."""
    model, diffusion = experiment.model, experiment.diffusion
    flags = theirs.model_and_diffusion_defaults() | {
        "image_size": model.image_size,
        "num_channels": model.model_channels,
        "num_res_blocks": model.num_res_blocks,
        "num_heads": model.num_heads,
        "dropout": model.dropout,
        "learn_sigma": diffusion.variance == "learned_range",
        "diffusion_steps": diffusion.steps,
        "noise_schedule": diffusion.schedule,
        "timestep_respacing": respacing,
    }
    made, process = theirs.create_model_and_diffusion(**flags)
    made.load_state_dict(network.state_dict())
    return made.to(next(network.parameters()).device), process


def their_walker(theirs: Any, experiment: Experiment, network: UNet, x: Tensor) -> Walker:
    model, process = their_model(theirs, experiment, network, f"ddim{CALLS}")
    model.eval()
    t = torch.full((len(x),), 1000 / CALLS, device=x.device)

    @torch.no_grad()
    def eps() -> Tensor:
        return model(x, t)[:, : x.shape[1]]

    @torch.no_grad()
    def invert() -> Tensor:
        x_t = x
        for step in range(CALLS):
            t = torch.full((len(x),), step, device=x.device)
            x_t = process.ddim_reverse_sample(model, x_t, t)["sample"]
        return x_t

    return Walker(eps, lambda: process.ddim_sample_loop(model, tuple(x.shape), noise=x), invert)


def diffusers_walker(experiment: Experiment, x: Tensor) -> Walker:
    """Its UNet2DModel of the same widths, blocks and attention, and its schedulers."""
    import diffusers

    model = experiment.model
    sides = [model.image_size >> level for level in range(len(model.channel_mult))]
    attended = ["Attn" if side in model.attention_resolutions else "" for side in sides]
    network = diffusers.UNet2DModel(
        sample_size=model.image_size,
        out_channels=2 * model.in_channels,
        block_out_channels=tuple(model.level_channels),
        layers_per_block=model.num_res_blocks,
        down_block_types=tuple(f"{one}DownBlock2D" for one in attended),
        up_block_types=tuple(f"{one}UpBlock2D" for one in reversed(attended)),
        attention_head_dim=model.level_channels[-1] // model.num_heads,
        resnet_time_scale_shift="scale_shift",
    )
    network = network.eval().requires_grad_(False).to(x.device)
    forward, inverse = diffusers.DDIMScheduler(1000), diffusers.DDIMInverseScheduler(1000)

    @torch.no_grad()
    def walk(scheduler: Any) -> Tensor:
        scheduler.set_timesteps(CALLS)
        x_t = x
        for t in scheduler.timesteps:
            eps = network(x_t, t, return_dict=False)[0][:, : model.in_channels]
            x_t = scheduler.step(eps, t, x_t).prev_sample
        return x_t

    return Walker(None, lambda: walk(forward), lambda: walk(inverse))


class OnRandomImages(Trainer):
    """Training as it is, on images that need not be prepared."""

    def _new_loader(self) -> BatchLoader:
        model, size = self.experiment.model, self.options.batch_size
        shape = (1024, model.in_channels, model.image_size, model.image_size)
        images = ImageDataset(np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.zeros(1024, np.int64))
        return BatchLoader(images, size, slice(0, size), self.seed, False, self.device)


def training_steps(experiment: Experiment, batch: int, device: torch.device, theirs: Any) -> Runs:
    """By contender, one step of training on a batch."""
    runs: Runs = {}
    if theirs is not None:
        runs["improved-diffusion fp32"] = their_training(theirs, experiment, batch, device)
    for name, (precision, compiled) in ours(device).items():
        runs[name] = in_precision(precision, our_training(experiment, batch, precision, compiled))
    return runs


def our_training(experiment: Experiment, batch: int, precision: str, compiled: bool) -> Run:
    trainer = new_trainer(experiment, batch_size=batch, precision=precision, compile=compiled, steps=10_000)

    def step() -> Tensor:
        return trainer.train_step(trainer.loader.to_device(trainer.loader.load(trainer.step)))

    return step


def new_trainer(experiment: Experiment, **options: Any) -> OnRandomImages:
    """A trainer of an experiment with other options of `train`, in a folder that goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="noisemap-bench-")
    atexit.register(shutil.rmtree, folder)
    quiet = dataclasses.replace(experiment.wandb, mode="disabled")
    train = dataclasses.replace(experiment.train, **options)
    mine = dataclasses.replace(experiment, train=train, wandb=quiet, runs=folder)
    AcceleratorState._reset_state()  # or the first precision of this process would stay
    return OnRandomImages(mine, seed_folder(mine, 0), new_accelerator(train.precision), SignalFlags())


def their_training(theirs: Any, experiment: Experiment, batch: int, device: torch.device) -> Run:
    """Its losses, optimiser and average as its training loop puts them together, without its logs."""
    update_ema = importlib.import_module("improved_diffusion.nn").update_ema
    model, process = their_model(theirs, experiment, network_of(experiment, device), "")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=experiment.train.lr, weight_decay=0.0)
    average = [parameter.detach().clone() for parameter in model.parameters()]
    x_0 = torch.rand(batch, 3, experiment.model.image_size, experiment.model.image_size, device=device) * 2 - 1

    def step() -> None:
        t = torch.randint(process.num_timesteps, (batch,), device=device)
        optimizer.zero_grad()
        process.training_losses(model, x_0, t)["loss"].mean().backward()
        optimizer.step()
        update_ema(average, list(model.parameters()), rate=experiment.train.ema_rates[0])

    return step
