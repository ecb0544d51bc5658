"""Compiled and half-precision training compared with plain float32 training."""

import shutil

import pytest
import torch
from accelerate.state import AcceleratorState

from models.unet import Dropout
from records.layout import seed_folder
from records.tracking.points import read_points
from train.trainer import train

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: no g++")


@pytest.fixture
def losses(tiny):
    """A function that trains with some overrides and returns the logged losses."""

    def train_losses(*overrides: str) -> list[float]:
        AcceleratorState._reset_state()  # it keeps the first precision of this process
        experiment = tiny("train.log_every=1", *overrides)
        train(experiment)
        return [point["loss"] for point in read_points(seed_folder(experiment, 0).log)]

    yield train_losses
    AcceleratorState._reset_state()


def test_half_precision_losses_are_close_to_float32(losses):
    plain, half = losses("name=plain"), losses("name=half", "train.precision=bf16")
    assert half != plain and half == pytest.approx(plain, rel=0.02)


@needs_compiler
def test_compiled_training_matches_plain_training_and_writes_samples(losses, tiny):
    """Dropout is included. Samples come from the EMA weights, which are not compiled."""
    compiled = losses(
        "name=compiled", "train.compile=true", "model.num_res_blocks=1", "train.sample_every=4", "train.log_every=4"
    )
    assert compiled == pytest.approx(losses("name=plain", "model.num_res_blocks=1", "train.log_every=4"), rel=1e-4)
    assert seed_folder(tiny("name=compiled"), 0).sample_grid(8).exists()


@needs_compiler
def test_compiled_dropout_masks_are_unchanged():
    """The masks are computed with integer arithmetic modulo 2³²."""
    layer, keys = Dropout(0.3).train(), torch.randint(-(2**31), 2**31, (4,)).int()
    layer.layer = 7
    x = torch.ones(4, 8, 16, 16)
    assert torch.equal(torch.compile(layer, dynamic=False)(x, keys), layer(x, keys))
