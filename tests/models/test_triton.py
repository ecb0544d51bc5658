"""Compiled networks are valid code for an NVIDIA GPU: their Triton kernels compile to machine code without a GPU."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="needs Triton, which is not installed: pip install triton")

SMALL = [
    "model.model_channels=32",
    "model.num_res_blocks=1",
    "model.channel_mult=[1]",
    "model.attention_resolutions=[]",
]
SMALL += ["train.loss=simple"]


@pytest.fixture
def count_kernels(repository):
    """Return a function that compiles all kernels of a network for sm_90 and returns their numbers."""

    def count(*arguments: str) -> dict[str, int]:
        command = [sys.executable, str(repository / "tests" / "triton_kernels.py"), *arguments]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), *sys.path])}
        result = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return count


def test_training_step_of_a_small_network_with_dropout(count_kernels):
    """The network and the loss are one graph each, without breaks, forward and backward."""
    counts = count_kernels("training", "8", "configs/cifar10.yaml", *SMALL)
    assert counts["graphs"] == 4 and counts["launches"] >= counts["kernels"] > 20


@pytest.mark.triton
@pytest.mark.parametrize("config", ["configs/cifar10.yaml", "configs/imagenet64.yaml"])
@pytest.mark.parametrize(("phase", "batch_size", "graphs"), [("training", 128, 4), ("sampling", 128, 1)])
def test_full_networks(phase, batch_size, graphs, config, count_kernels):
    counts = count_kernels(phase, str(batch_size), config)
    print(config, phase, counts)
    assert counts["graphs"] == graphs
