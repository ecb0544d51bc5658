"""Tests of keyed dropout: each image's mask is independent of its batch, and sufficiently random."""

import pytest
import torch

from models.unet import Dropout


def masks(p: float, count: int, layer: int = 0, first_key: int = 0) -> torch.Tensor:
    """Return the scaled masks [count, 8, 16, 16] of images with consecutive keys."""
    dropout = Dropout(p).train()
    dropout.layer = layer
    dropout_keys = torch.arange(first_key, first_key + count, dtype=torch.int32)
    return dropout(torch.ones(count, 8, 16, 16), dropout_keys)


def test_a_mask_does_not_depend_on_its_batch():
    assert torch.equal(masks(0.3, 6)[4:], masks(0.3, 2, first_key=4))


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_a_fraction_p_is_dropped_and_the_rest_scaled_up(p):
    dropped = masks(p, 64)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    assert (dropped == 0).double().mean().item() == pytest.approx(p, abs=0.005)


@pytest.mark.parametrize("view", ["images", "layers", "neighbors"])
def test_masks_are_not_correlated(view):
    """Tested for images with consecutive keys, consecutive layers, and neighboring positions."""
    first = (masks(0.5, 64) > 0).double().flatten()
    second = {
        "images": masks(0.5, 64, first_key=1),
        "layers": masks(0.5, 64, layer=1),
        "neighbors": masks(0.5, 64).roll(1, dims=3),
    }[view]
    correlation = torch.corrcoef(torch.stack([first, (second > 0).double().flatten()]))[0, 1].item()
    assert abs(correlation) < 4 / len(first) ** 0.5


def test_every_position_is_dropped_in_some_images():
    frequency = (masks(0.3, 200) > 0).double().mean(dim=0)
    assert frequency.min() > 0.4 and frequency.max() < 0.95


def test_evaluation_mode_and_p_zero_drop_nothing():
    x, dropout_keys = torch.randn(2, 8, 4, 4), torch.zeros(2, dtype=torch.int32)
    assert torch.equal(Dropout(0.5).eval()(x, None), x) and torch.equal(Dropout(0.0).train()(x, dropout_keys), x)


def test_masks_are_the_same_on_every_machine():
    assert (masks(0.5, 1)[0, 0, 0] > 0).int().tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0]
