"""Network and optimizer of a training run."""

from typing import Any

import torch
from torch import Tensor, nn

from configs.schema import Experiment, Train
from diffusion.randomness import generator
from models.compiled import check_compiler, note_slow_bf16, should_compile
from models.unet import UNet
from train.accelerator import MIXED_PRECISION
from train.initial_weights import load_initial_weights


def new_network(experiment: Experiment, device: torch.device, resumes: bool = False) -> UNet:
    """Return the network with its initial weights on a device, compiled if the options require it.

    The weights are random if the run `resumes`: its state replaces them, and `train.init_from` may no longer exist.
    Raises UserError if the initial weights cannot be loaded or networks cannot be compiled.
    """
    options = experiment.train
    torch.manual_seed(int(generator(experiment.seed, "initial weights").integers(2**63)))
    network = UNet.from_config(experiment.model, experiment.diffusion)
    if options.init_from is not None and not resumes:
        load_initial_weights(network, options.init_from)
    compiled = should_compile(options.compile, device)
    network = network.to(device, memory_format=memory_format(options.precision, compiled, device))  # type: ignore[call-overload]
    network.autocasts_ends = device.type == "cpu"  # runs in bf16 on a CPU began so, and must resume bit for bit
    if options.precision == "bf16":
        note_slow_bf16(device)
    if compiled:
        check_compiler(device.type)
        network.compile(dynamic=False)
    return network


def memory_format(precision: str, compiled: bool, device: torch.device) -> torch.memory_format:
    """Return the layout that is fastest: channels last in compiled code, in half precision and in TF32 on a GPU.

    Otherwise the layout stays unchanged, so that existing runs resume bit for bit.
    """
    in_half, in_tf32 = MIXED_PRECISION[precision] != "no", precision == "tf32" and device.type != "cpu"
    return torch.channels_last if compiled or in_half or in_tf32 else torch.preserve_format


def new_optimizer(network: nn.Module, options: Train) -> torch.optim.Optimizer:
    parameters = network.parameters()
    return torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr


def set_capturable(optimizer: torch.optim.Optimizer, capturable: bool, device: torch.device) -> None:
    """Let the optimizer read its learning rate from the device, as a recorded step must, or from Python."""
    for group in optimizer.param_groups:
        lr = float(group["lr"])
        group["lr"] = torch.tensor(lr, device=device) if capturable else lr
        group["capturable"] = capturable


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load the state of an optimizer, with each moment in the memory layout of its parameter.

    The layout differs from the saved one if train.compile has changed. Fused AdamW combines parameters and moments in
    the order of memory, without comparing their layouts on a CPU.
    """
    optimizer.load_state_dict(state)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter).copy_(value)
