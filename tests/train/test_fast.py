"""Training that is compiled, and training in half precision, beside the plain way."""

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
    """A function: the losses of a training with some overrides."""

    def trained(*overrides: str) -> list[float]:
        AcceleratorState._reset_state()  # or the first precision of this process would stay
        experiment = tiny("train.log_every=1", *overrides)
        train(experiment)
        return [point["loss"] for point in read_points(seed_folder(experiment, 0).log)]

    yield trained
    AcceleratorState._reset_state()


def test_half_precision_trains_nearly_the_same(losses):
    plain, in_half = losses("name=plain"), losses("name=half", "train.precision=bf16")
    assert in_half != plain and in_half == pytest.approx(plain, rel=0.02)


@needs_compiler
def test_a_compiled_network_trains_the_same_and_draws_samples(losses, tiny):
    """Dropout included; and its averages make samples without being compiled."""
    compiled = losses(
        "name=compiled", "train.compile=true", "model.num_res_blocks=1", "train.sample_every=4", "train.log_every=4"
    )
    assert compiled == pytest.approx(losses("name=plain", "model.num_res_blocks=1", "train.log_every=4"), rel=1e-4)
    assert seed_folder(tiny("name=compiled"), 0).sample_grid(8).exists()


@needs_compiler
def test_the_masks_of_dropout_are_the_same_when_compiled():
    """Their arithmetic is modulo 2³²."""
    layer, keys = Dropout(0.3).train(), torch.randint(-(2**31), 2**31, (4,)).int()
    layer.layer = 7
    x = torch.ones(4, 8, 16, 16)
    assert torch.equal(torch.compile(layer, dynamic=False)(x, keys), layer(x, keys))
