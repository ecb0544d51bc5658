"""Contenders of the benchmarks: our network in each precision, improved-diffusion's, and diffusers' with DDIMScheduler.

All have the architecture of one experiment and call the network once per step.
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

CALLS = 2  # network calls in each timed run; all DDIM steps cost the same
Run = Callable[[], Tensor | None]
Runs = dict[str, Run]

# Precision, and whether the network is compiled. TF32 has no effect on a CPU.
OURS: dict[str, tuple[Precision, bool]] = {"ours fp32": ("fp32", False), "ours tf32": ("tf32", False)}
OURS |= {"ours bf16": ("bf16", False), "ours bf16 compiled": ("bf16", True)}


def network_of(experiment: Experiment, device: torch.device) -> UNet:
    """Return the experiment's network with random weights, none of which are zero."""
    torch.manual_seed(0)
    network = UNet.from_config(experiment.model, experiment.diffusion)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.02)
    return network.requires_grad_(False).eval().to(device)


@dataclasses.dataclass
class Sampler:
    """A contender on a fixed batch: one network call, CALLS sampling steps, and CALLS inversion steps."""

    eps: Run | None  # None if the weights differ from ours, so that the outputs are not comparable
    sampling: Run
    inversion: Run


def samplers(experiment: Experiment, batch: int, device: torch.device, script_util: Any) -> dict[str, Sampler]:
    """Return all contenders by name, the baseline first."""
    network = network_of(experiment, device)
    plain = as_denoiser(network, experiment.model, experiment.diffusion, device)
    x = torch.randn(batch, *plain.shape, device=device)
    contenders: dict[str, Sampler] = {}
    if script_util is not None:
        contenders["improved-diffusion fp32"] = improved_diffusion_sampler(script_util, experiment, network, x)
    with contextlib.suppress(ImportError):
        contenders["diffusers fp32"] = diffusers_sampler(experiment, x)
    for name, (precision, compiled) in our_variants(device).items():
        contenders[name] = our_sampler(optimize_inference(plain, precision, compiled), precision, x)
    return contenders


def our_variants(device: torch.device) -> dict[str, tuple[Precision, bool]]:
    """Return our variants that the device supports."""
    return {name: variant for name, variant in OURS.items() if variant[0] != "tf32" or device.type == "cuda"}


def our_sampler(denoiser: Denoiser, precision: Precision, x: Tensor) -> Sampler:
    step = len(denoiser.levels) // CALLS
    return Sampler(
        in_precision(precision, torch.no_grad()(lambda: denoiser.output(x, step))),
        in_precision(precision, lambda: final_state(Ddim(CALLS).sample(denoiser, x))),
        in_precision(precision, lambda: final_state(Ddim(CALLS).invert(denoiser, x))),
    )


def in_precision(precision: str, run: Run) -> Run:
    """Set the process-wide TF32 switch before each run."""

    def run_in_precision() -> Tensor | None:
        allow_tf32(precision == "tf32")
        return run()

    return run_in_precision


def import_script_util(checkout: Path | None) -> Any:
    """Import improved_diffusion.script_util from a checkout or as installed; return None if it is not installed."""
    if checkout is not None:
        sys.path.insert(0, str(checkout))
    try:
        return importlib.import_module("improved_diffusion.script_util")
    except ImportError:
        if checkout is not None:
            raise
        return None


def improved_diffusion_model(
    script_util: Any, experiment: Experiment, network: UNet, respacing: str
) -> tuple[Any, Any]:
    """Return improved-diffusion's network with our weights, and its diffusion."""
    model, diffusion = experiment.model, experiment.diffusion
    flags = script_util.model_and_diffusion_defaults() | {
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
    their_network, process = script_util.create_model_and_diffusion(**flags)
    their_network.load_state_dict(network.state_dict())
    return their_network.to(next(network.parameters()).device), process


def improved_diffusion_sampler(script_util: Any, experiment: Experiment, network: UNet, x: Tensor) -> Sampler:
    model, process = improved_diffusion_model(script_util, experiment, network, f"ddim{CALLS}")
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

    return Sampler(eps, lambda: process.ddim_sample_loop(model, tuple(x.shape), noise=x), invert)


def diffusers_sampler(experiment: Experiment, x: Tensor) -> Sampler:
    """Return diffusers' UNet2DModel with the same widths, blocks and attention, and its DDIM schedulers."""
    import diffusers

    model = experiment.model
    sides = [model.image_size >> level for level in range(len(model.channel_mult))]
    attention = ["Attn" if side in model.attention_resolutions else "" for side in sides]
    network = diffusers.UNet2DModel(
        sample_size=model.image_size,
        out_channels=2 * model.in_channels,
        block_out_channels=tuple(model.level_channels),
        layers_per_block=model.num_res_blocks,
        down_block_types=tuple(f"{kind}DownBlock2D" for kind in attention),
        up_block_types=tuple(f"{kind}UpBlock2D" for kind in reversed(attention)),
        attention_head_dim=model.level_channels[-1] // model.num_heads,
        resnet_time_scale_shift="scale_shift",
    )
    network = network.eval().requires_grad_(False).to(x.device)
    forward, inverse = diffusers.DDIMScheduler(1000), diffusers.DDIMInverseScheduler(1000)

    @torch.no_grad()
    def integrate(scheduler: Any) -> Tensor:
        scheduler.set_timesteps(CALLS)
        x_t = x
        for t in scheduler.timesteps:
            eps = network(x_t, t, return_dict=False)[0][:, : model.in_channels]
            x_t = scheduler.step(eps, t, x_t).prev_sample
        return x_t

    return Sampler(None, lambda: integrate(forward), lambda: integrate(inverse))


class RandomImageTrainer(Trainer):
    """A trainer on random images, which needs no prepared dataset."""

    def _new_loader(self) -> BatchLoader:
        model, size = self.experiment.model, self.options.batch_size
        shape = (1024, model.in_channels, model.image_size, model.image_size)
        images = ImageDataset(np.random.default_rng(0).integers(0, 256, shape, np.uint8), np.zeros(1024, np.int64))
        return BatchLoader(images, size, slice(0, size), self.seed, False, self.device)


def training_steps(experiment: Experiment, batch: int, device: torch.device, script_util: Any) -> Runs:
    """Return one training step on a batch for each contender."""
    runs: Runs = {}
    if script_util is not None:
        runs["improved-diffusion fp32"] = improved_diffusion_training(script_util, experiment, batch, device)
    for name, (precision, compiled) in our_variants(device).items():
        runs[name] = in_precision(precision, our_training(experiment, batch, precision, compiled))
    if device.type == "cuda":
        runs["ours bf16 recorded"] = in_precision("bf16", our_training(experiment, batch, "bf16", False, graph=True))
    return runs


def our_training(
    experiment: Experiment, batch: int, precision: str, compiled: bool | None, graph: bool | None = False
) -> Run:
    options = {"precision": precision, "compile": compiled, "graph": graph}
    trainer = new_trainer(experiment, batch_size=batch, steps=10_000, **options)

    images = trainer.loader.to_device(trainer.loader.load(0))  # training loads batches in the background
    return lambda: trainer.train_step(images)


def new_trainer(experiment: Experiment, **options: Any) -> RandomImageTrainer:
    """Return a trainer with changed `train` options, in a folder that is deleted when this process exits."""
    folder = tempfile.mkdtemp(prefix="noisemap-bench-")
    atexit.register(shutil.rmtree, folder)
    wandb = dataclasses.replace(experiment.wandb, mode="disabled")
    train = dataclasses.replace(experiment.train, **options)
    experiment = dataclasses.replace(experiment, train=train, wandb=wandb, runs=folder)
    AcceleratorState._reset_state()  # otherwise the first precision of this process would remain in effect
    return RandomImageTrainer(experiment, seed_folder(experiment, 0), new_accelerator(train.precision), SignalFlags())


def improved_diffusion_training(script_util: Any, experiment: Experiment, batch: int, device: torch.device) -> Run:
    """Return a step with the losses, optimizer and EMA of improved-diffusion's training loop, without its logging."""
    update_ema = importlib.import_module("improved_diffusion.nn").update_ema
    model, process = improved_diffusion_model(script_util, experiment, network_of(experiment, device), "")
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=experiment.train.lr, weight_decay=0.0)
    ema = [parameter.detach().clone() for parameter in model.parameters()]
    x_0 = torch.rand(batch, 3, experiment.model.image_size, experiment.model.image_size, device=device) * 2 - 1

    def step() -> None:
        t = torch.randint(process.num_timesteps, (batch,), device=device)
        optimizer.zero_grad()
        process.training_losses(model, x_0, t)["loss"].mean().backward()
        optimizer.step()
        update_ema(ema, list(model.parameters()), rate=experiment.train.ema_rates[0])

    return step
