"""Velocity models in the convention of facebookresearch/flow_matching: t = 0 is noise, t = 1 is data, v = data − noise.

Its image example trains the U-Net of guided-diffusion, so `models.openai` opens the state dicts; class-conditional
models have a null class after the last. Source: Lipman et al. (2024), "Flow Matching Guide and Code".
"""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from configs.errors import UserError
from configs.schema import OpenAI
from diffusion.denoiser import Denoiser
from diffusion.levels import NoiseLevels
from models.networks import GuidedNetwork
from models.openai import Description, open_tensors
from models.state_dict import read_state_dict

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


def averaged(weights: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return the averages in the state dict of the example's EMA module by name; other weights are returned unchanged.

    The module has the network as `model` and a list of averages, `shadow_params`, in the order of the network's
    parameters, which is that of its state dict. Raises UserError if the averages do not have this order.
    """
    if "shadow_params.0" not in weights:
        return weights
    if path.suffix == ".safetensors":  # sorted
        raise UserError(f"{path}: the order of shadow_params.* is lost; save the state dict with torch.save")
    current = {name.removeprefix("model."): tensor for name, tensor in weights.items() if name.startswith("model.")}
    averages = [tensor for name, tensor in weights.items() if name.startswith("shadow_params.")]
    if [tensor.shape for tensor in averages] != [tensor.shape for tensor in current.values()]:
        raise UserError(
            f"{path}: shadow_params.* are not the averages of model.*; save the state dict of the EMA module unchanged"
        )
    return dict(zip(current, averages, strict=True))


def open_flow_matching(
    path: Path, options: OpenAI, guidance: float, device: torch.device
) -> tuple[Denoiser, Description]:
    """Open the state dict of a velocity model, or of its EMA module, as a denoiser; also return its description.

    Raises UserError like `models.openai.describe`, and if the averages of the weights cannot be assigned to them.
    """
    opened, description = open_tensors(averaged(read_state_dict(path), path), path, options, device)
    classes = opened.num_classes - 1 if opened.num_classes else None
    return velocity_denoiser(opened.network, opened.shape, device, classes, guidance), description
