"""What `make train-cifar` runs, on a machine without a GPU: what it says of itself, and that it trains where asked."""

import re

import pytest
import torch

from configs.load import load
from records.layout import seed_folder
from train.run_folder import is_trained

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_without_a_gpu_it_says_how_long_it_would_take_and_does_nothing(start, command_line, tmp_path):
    process = start("launch.here", *command_line(tmp_path, "train.steps=500000000"))
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 2 and not said and complained.count("\n") == 1
    assert re.search(
        r"no GPU, and 500,000,000 steps would take about [\d.]+ (d \d+ h|years) on its \d+ cores", complained
    )
    assert "cpu=yes" in complained and not (tmp_path / "runs").exists()


def test_it_trains_on_the_processor_where_that_is_asked_for(start, command_line, tmp_path):
    config, *options = command_line(tmp_path)
    process = start("launch.here", config, "cpu=yes", *options)
    _, complained = process.communicate(timeout=240)
    assert process.returncode == 0, complained
    assert is_trained(seed_folder(load(config, options), 0), 8)
