"""Velocity models in the convention of facebookresearch/flow_matching: t = 0 is noise, t = 1 is data, v = data − noise.

Its image example trains the U-Net of guided-diffusion, so `models.openai` opens the state dicts; class-conditional
models have a null class after the last. Source: Lipman et al. (2024), "Flow Matching Guide and Code".
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from configs.schema import OpenAI
from diffusion.denoiser import Denoiser
from diffusion.levels import NoiseLevels
from models.networks import GuidedNetwork
from models.openai import Description, open_openai

STEPS = 1000  # of the timesteps that a denoiser counts; the models are continuous in time

Velocity = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class VelocityNetwork(GuidedNetwork):
    """A velocity model as the network of a denoiser, which predicts ε − x_0 = −v at timestep STEPS·(1 − t)."""

    def evaluate(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        return -self.network(x_t, 1 - t / STEPS, y)


def velocity_denoiser(
    velocity: Velocity,
    shape: tuple[int, int, int],
    device: torch.device,
    num_classes: int | None = None,
    guidance: float = 1.0,
) -> Denoiser:
    """Return a velocity model as a denoiser; use it with `diffusion.solvers.spacing.EulerSpacing`.

    `velocity` maps x [N, C, H, W], times t [N] in [0, 1] and labels y [N] or None to v [N, C, H, W]. With guidance, it
    is also called with the null label `num_classes`.
    """
    network = VelocityNetwork(velocity, guidance, null=num_classes or 0)
    return Denoiser(
        network=network,
        levels=NoiseLevels.flow_matching(STEPS),
        shape=shape,
        timestep_scale=1.0,
        num_classes=num_classes,
        device=device,
        prediction_type="velocity",
        clip=False,
        evaluations_per_call=network.evaluations_per_call,
    )


def open_flow_matching(
    path: Path, options: OpenAI, guidance: float, device: torch.device
) -> tuple[Denoiser, Description]:
    """Open the state dict of a velocity model as a denoiser; also return its description.

    Raises UserError like `models.openai.describe`.
    """
    opened, description = open_openai(path, options, device)
    classes = opened.num_classes - 1 if opened.num_classes else None
    return velocity_denoiser(opened.network, opened.shape, device, classes, guidance), description
