"""Estimates of --dry-run: sizes of published models, and memory of activations."""

import pytest
import torch

from configs.load import load
from models.flops import forward_flop
from models.unet import UNet
from train.estimate import activation_bytes, estimate
from train.throughput import Throughput


@pytest.mark.parametrize(
    ("config", "parameters", "gflop", "checkpoints"),
    [("cifar10", "52.5 M", 16.8, 376), ("imagenet64", "121.1 M", 79.5, 696)],
)
def test_published_models_have_their_published_sizes(repository, config, parameters, gflop, checkpoints):
    experiment = load(repository / "configs" / f"{config}.yaml")
    text = estimate(experiment)
    assert f"parameters    {parameters}" in text and f"{checkpoints} checkpoints" in text
    assert forward_flop(experiment.model, experiment.diffusion) / 1e9 == pytest.approx(gflop, abs=0.05)


def test_last_checkpoint_is_always_listed(repository):
    for config, last in (("digits", "500, 700"), ("cifar10", "200, …, 700000")):
        assert estimate(load(repository / "configs" / f"{config}.yaml")).endswith(last)


def test_activation_bytes_match_a_real_forward_pass(tiny):
    """The estimate computes nothing; the reference is the storages that autograd saves."""
    experiment = tiny("model.dropout=0")
    stored: dict[int, int] = {}

    def record(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network = UNet.from_config(experiment.model, experiment.diffusion).eval()
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        output = network(torch.randn(1, 1, 8, 8), torch.zeros(1))
    assert output.requires_grad
    assert activation_bytes(experiment) == pytest.approx(sum(stored.values()), rel=0.05)


def test_throughput_is_measured_since_the_last_call():
    throughput = Throughput(2e9, processes=1, device=torch.device("cpu"), last_images=100)
    throughput.last_time_s -= 10
    speed = throughput.measure(200)
    assert speed["images_per_s"] == pytest.approx(10, rel=0.01)
    assert speed["tflop_per_s"] == pytest.approx(0.02, rel=0.01) and "mfu" not in speed
    assert throughput.last_images == 200


def test_utilization_is_relative_to_the_peak_of_all_processes():
    throughput = Throughput(2e9, processes=4, device=torch.device("cpu"), peak_flop_per_s=1e10)
    throughput.last_time_s -= 10
    assert throughput.measure(100)["mfu"] == pytest.approx(0.5, rel=0.01)  # 20 of 40 GFLOP/s
