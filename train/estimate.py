"""Cost of a training run before it starts: parameters, FLOP, memory, disk and checkpoints."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from configs.checks import checkpoint_steps
from configs.schema import Experiment
from models.flops import FORWARD_PASSES, forward_flop
from models.unet import UNet
from records.human import human_size

ACTIVATION_BYTES = {"fp32": 4, "tf32": 4, "bf16": 2, "fp16": 2}  # per value, by precision
FLOAT_BYTES = 4


def estimate(experiment: Experiment) -> str:
    """Return the table printed by --dry-run.

    Memory is for one process with the whole batch; activations shrink in proportion to the number of processes.
    """
    options = experiment.train
    with torch.device("meta"):
        network = UNet.from_config(experiment.model, experiment.diffusion)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    weight_bytes, averages = parameters * FLOAT_BYTES, len(options.ema_rates)

    image_flop = forward_flop(experiment.model, experiment.diffusion)
    total_flop = FORWARD_PASSES * image_flop * options.batch_size * options.steps

    microbatch_size = options.batch_size // options.gradient_accumulation_steps
    activations = activation_bytes(experiment) * microbatch_size * ACTIVATION_BYTES[options.precision] / FLOAT_BYTES

    steps = checkpoint_steps(options.checkpoints, options.steps)
    checkpoint_bytes = weight_bytes * (1 + averages)
    state_bytes = weight_bytes * (3 + averages)  # weights, two moments of AdamW, averages
    steps_text = ", ".join(map(str, steps if len(steps) < 10 else [*steps[:8], "…", steps[-1]]))
    return "\n".join(
        [
            f"parameters    {parameters / 1e6:.1f} M",
            f"operations    {image_flop / 1e9:.1f} GFLOP per image (forward pass), "
            f"{total_flop:.2g} FLOP for {options.steps:,} steps",
            f"memory        {human_size(weight_bytes * (4 + averages))} for weights, gradients, moments and averages, "
            f"about {human_size(activations)} for activations of {microbatch_size} images",
            f"disk          {human_size(len(steps) * checkpoint_bytes)} for {len(steps)} checkpoints of "
            f"{human_size(checkpoint_bytes)} each, and {human_size(state_bytes)} for each of two saved states",
            f"checkpoints   {steps_text}",
        ]
    )


def activation_bytes(experiment: Experiment) -> float:
    """Return the bytes in float32 that one image's forward pass stores for the backward pass, computing nothing."""
    stored: dict[int, int] = {}  # by storage, because tensors may share storage

    def record(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            stored[tensor.untyped_storage()._cdata] = tensor.untyped_storage().nbytes()
        return tensor

    model = experiment.model
    # Meta tensors would count the unfused attention kernel, which no device uses; fake tensors do not.
    with FakeTensorMode(), torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        network = UNet.from_config(model, experiment.diffusion).eval()
        y = torch.zeros(1, dtype=torch.long) if model.num_classes else None
        network(torch.empty(1, model.in_channels, model.image_size, model.image_size), torch.empty(1), y)
    return sum(stored.values())
