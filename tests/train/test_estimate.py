"""What --dry-run promises: the published sizes of the published models, and memory that is really taken."""

import pytest
import torch

from configs.load import load
from models.flops import forward_flop
from models.unet import UNet
from train.estimate import estimate, saved_bytes
from train.throughput import Throughput


@pytest.mark.parametrize(
    ("config", "parameters", "gflop", "checkpoints"),
    [("cifar10", "52.5 M", 16.8, 376), ("imagenet64", "121.1 M", 79.5, 696)],
)
def test_the_published_models_have_their_sizes(repository, config, parameters, gflop, checkpoints):
    experiment = load(repository / "configs" / f"{config}.yaml")
    said = estimate(experiment)
    assert f"parameters    {parameters}" in said and f"{checkpoints} checkpoints" in said
    assert forward_flop(experiment.model, experiment.diffusion) / 1e9 == pytest.approx(gflop, abs=0.05)


def test_the_last_checkpoint_is_always_told(repository):
    for config, last in (("digits", "500, 700"), ("cifar10", "200, …, 700000")):
        assert estimate(load(repository / "configs" / f"{config}.yaml")).endswith(last)


def test_activations_are_what_autograd_keeps(tiny):
    """Counted without computing, against the storages that a real forward pass holds."""
    experiment = tiny("model.dropout=0")
    held: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if not isinstance(tensor, torch.nn.Parameter):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    network = UNet.of(experiment.model, experiment.diffusion).eval()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(torch.randn(1, 1, 8, 8), torch.zeros(1))
    assert output.requires_grad
    assert saved_bytes(experiment) == pytest.approx(sum(held.values()), rel=0.05)


def test_speed_is_since_the_last_look():
    throughput = Throughput(2e9, processes=1, device=torch.device("cpu"), precision="fp32", seen_images=100)
    throughput.seen_at_s -= 10
    seen = throughput.measure(200)
    assert seen["images_per_s"] == pytest.approx(10, rel=0.01)
    assert seen["tflop_per_s"] == pytest.approx(0.02, rel=0.01) and "mfu" not in seen
    assert throughput.seen_images == 200
