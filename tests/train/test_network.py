"""Layouts of a training network, and AdamW's moments after the layout has changed."""

import copy

import pytest
import torch
from torch import nn

from train.network import load_optimizer_state, memory_format, new_network, set_capturable, set_learning_rate

CPU, GPU = torch.device("cpu"), torch.device("cuda")
PLAIN, FAST = torch.preserve_format, torch.channels_last


@pytest.mark.parametrize(
    ("precision", "compiled", "device", "expected"),
    [
        ("fp32", False, CPU, PLAIN),
        ("tf32", False, CPU, PLAIN),  # fp32 on a CPU
        ("tf32", False, GPU, FAST),
        ("fp32", False, GPU, PLAIN),
        ("fp32", True, CPU, FAST),
        ("bf16", False, CPU, FAST),
    ],
)
def test_layout(precision, compiled, device, expected):
    assert memory_format(precision, compiled, device) == expected


def test_autocast_includes_the_ends_on_a_cpu_only(tiny):
    """On a GPU, the time embedding and the output convolution are computed in float32, as in the analysis."""
    network = new_network(tiny("train.precision=bf16"), CPU)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    dtypes = []
    for layer in (network.time_embed[2], network.out[2], network.middle_block[0].in_layers[2]):
        layer.register_forward_hook(lambda _, inputs, output: dtypes.append(output.dtype))
    x_t, t, keys = torch.randn(2, 1, 8, 8), torch.zeros(2), torch.zeros(2, dtype=torch.int32)
    for autocasts_ends in (network.autocasts_ends, False):
        network.autocasts_ends = autocasts_ends
        with torch.autocast("cpu", torch.bfloat16):
            network(x_t, t, None, keys)
    half, full = torch.bfloat16, torch.float32
    assert dtypes == [half, half, half, full, half, full]  # in the order of the calls: embedding, block, output


def adamw(weights: torch.Tensor) -> tuple[nn.Parameter, torch.optim.Optimizer]:
    parameter = nn.Parameter(weights)
    return parameter, torch.optim.AdamW([parameter], lr=0.1, fused=True)


def step(parameter: nn.Parameter, optimizer: torch.optim.Optimizer, gradient: torch.Tensor) -> None:
    parameter.grad = torch.empty_like(parameter).copy_(gradient)
    optimizer.step()


def test_moments_follow_the_layout_of_their_parameter():
    """As after a change of train.compile. Fused AdamW reads a moment in another layout in the wrong order."""
    torch.manual_seed(0)
    gradients = torch.randn(2, 4, 3, 3, 3)
    parameter, optimizer = adamw(torch.randn(4, 3, 3, 3))
    step(parameter, optimizer, gradients[0])
    other, resumed = adamw(parameter.detach().clone().to(memory_format=torch.channels_last))
    load_optimizer_state(resumed, copy.deepcopy(optimizer.state_dict()))
    step(parameter, optimizer, gradients[1])
    step(other, resumed, gradients[1])
    assert other.stride() != parameter.stride()
    torch.testing.assert_close(other.detach(), parameter.detach())


def test_the_state_of_a_recorded_run_resumes_without_recording():
    """A recorded step reads its learning rate from a tensor, which must not remain in the optimizer elsewhere."""
    torch.manual_seed(0)
    weights, gradients = torch.randn(8, 8), torch.randn(2, 8, 8)
    expected, uninterrupted = adamw(weights.clone())
    resumed, optimizer = adamw(weights.clone())
    for number, gradient in enumerate(gradients):
        if number == 1:
            state = copy.deepcopy(optimizer.state_dict())
            state["param_groups"][0] |= {"lr": torch.tensor(0.1), "capturable": True}
            load_optimizer_state(optimizer, state)
            set_capturable(optimizer, False, CPU)
        for one in (uninterrupted, optimizer):
            set_learning_rate(one, 0.1 / (number + 1))
        step(expected, uninterrupted, gradient)
        step(resumed, optimizer, gradient)
    assert torch.equal(resumed, expected)
    assert optimizer.param_groups[0]["lr"] == 0.05 and not optimizer.param_groups[0]["capturable"]
