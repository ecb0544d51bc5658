"""Dropout by key: each image's mask is its own, whatever batch it is in, and as random as it has to be."""

import pytest
import torch

from models.unet import Dropout


def masks(p: float, count: int, layer: int = 0, first_key: int = 0) -> torch.Tensor:
    dropout = Dropout(p).train()
    dropout.layer = layer
    dropout_keys = torch.arange(first_key, first_key + count, dtype=torch.int32)
    return dropout(torch.ones(count, 8, 16, 16), dropout_keys)


def test_the_mask_of_an_image_does_not_depend_on_its_batch():
    assert torch.equal(masks(0.3, 6)[4:], masks(0.3, 2, first_key=4))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_the_share_is_dropped_and_the_rest_scaled_up(share):
    dropped = masks(share, 64)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - share)])
    assert (dropped == 0).double().mean().item() == pytest.approx(share, abs=0.005)


@pytest.mark.parametrize("view", ["images", "layers", "neighbours"])
def test_masks_are_not_correlated(view):
    """Of images with dropout_keys one apart, of layers that follow each other, of places beside each other."""
    one = (masks(0.5, 64) > 0).double().flatten()
    other = {
        "images": masks(0.5, 64, first_key=1),
        "layers": masks(0.5, 64, layer=1),
        "neighbours": masks(0.5, 64).roll(1, dims=3),
    }[view]
    correlation = torch.corrcoef(torch.stack([one, (other > 0).double().flatten()]))[0, 1].item()
    assert abs(correlation) < 4 / len(one) ** 0.5


def test_every_place_is_dropped_for_some_images():
    kept = (masks(0.3, 200) > 0).double().mean(dim=0)
    assert kept.min() > 0.4 and kept.max() < 0.95


def test_nothing_is_dropped_outside_of_training_or_without_dropout():
    x, dropout_keys = torch.randn(2, 8, 4, 4), torch.zeros(2, dtype=torch.int32)
    assert torch.equal(Dropout(0.5).eval()(x, None), x) and torch.equal(Dropout(0.0).train()(x, dropout_keys), x)


def test_the_masks_are_these_on_every_machine():
    assert (masks(0.5, 1)[0, 0, 0] > 0).int().tolist() == [1, 1, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 0, 1, 0]
