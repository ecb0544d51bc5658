"""What a training will cost, before it is started: parameters, operations, memory, disk, checkpoints."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from configs.checks import checkpoint_steps
from configs.schema import Experiment
from models.flops import FORWARD_PASSES, forward_flop
from models.unet import UNet
from records.human import human_size

BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}  # of an activation
FLOAT_BYTES = 4


def estimate(experiment: Experiment) -> str:
    """Lines for a person. Memory is of one process with the whole batch: its share falls with their number."""
    options = experiment.train
    with torch.device("meta"):
        network = UNet.of(experiment.model, experiment.diffusion)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    flop = forward_flop(experiment.model, experiment.diffusion)
    plan = checkpoint_steps(options.checkpoints, options.steps)
    copies = 4 + len(options.ema_rates)  # weights, gradients, two moments of AdamW, averages
    activations = saved_bytes(experiment) * options.batch_size / options.gradient_accumulation_steps
    activations *= BYTES[options.precision] / FLOAT_BYTES
    checkpoint_bytes = parameters * FLOAT_BYTES * (1 + len(options.ema_rates))
    state_bytes = parameters * FLOAT_BYTES * (3 + len(options.ema_rates))
    total = FORWARD_PASSES * flop * options.batch_size * options.steps
    shown = ", ".join(map(str, plan if len(plan) < 10 else [*plan[:8], "…", plan[-1]]))
    return "\n".join(
        [
            f"parameters    {parameters / 1e6:.1f} M",
            f"operations    {flop / 1e9:.1f} GFLOP an image forward, {total:.2g} FLOP for {options.steps:,} steps",
            f"memory        {human_size(parameters * FLOAT_BYTES * copies)} for weights, gradients, moments and "
            f"averages, about {human_size(activations)} for activations of "
            f"{options.batch_size // options.gradient_accumulation_steps} images",
            f"disk          {human_size(len(plan) * checkpoint_bytes)} for {len(plan)} checkpoints of "
            f"{human_size(checkpoint_bytes)}, and two states of {human_size(state_bytes)}",
            f"checkpoints   {shown}",
        ]
    )


def saved_bytes(experiment: Experiment) -> float:
    """Bytes that one image's forward pass keeps for the backward, in float32, counted without computing anything."""
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    model = experiment.model
    # Fake tensors rather than meta ones: with those, attention would be counted in the form that no device takes.
    with FakeTensorMode(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        network = UNet.of(model, experiment.diffusion).eval()
        y = torch.zeros(1, dtype=torch.long) if model.num_classes else None
        network(torch.empty(1, model.in_channels, model.image_size, model.image_size), torch.empty(1), y)
    return sum(kept.values())
