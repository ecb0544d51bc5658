"""Data sets are prepared once, and each step's images are a function of the seed and the step."""

import numpy as np
import pytest
import torch

from configs.schema import Data, Model
from train.batches import BatchLoader
from train.data import batch_indices, prepare

MODEL = Model(image_size=16, in_channels=1)


@pytest.fixture
def digits(tmp_path):
    """The digits at 16 pixels, and the folder that they are kept in."""
    return prepare(Data("digits", root=str(tmp_path)), MODEL), tmp_path


@pytest.mark.parametrize("images, batch_size", [(10, 5), (10, 3), (7, 7), (5, 13), (1, 4)])
def test_each_epoch_has_every_image_once(images, batch_size):
    """Also where batches reach from one epoch into the next, or over several."""
    epochs = 6
    steps = range(-(-epochs * images // batch_size))
    order = np.concatenate([batch_indices(images, batch_size, 3, step) for step in steps])[: epochs * images]
    assert (np.sort(order.reshape(epochs, images), axis=1) == np.arange(images)).all()


def test_each_epoch_has_an_order_of_its_own():
    orders = {tuple(batch_indices(50, 50, seed, step)) for seed in (0, 10) for step in range(4)}
    assert len(orders) == 8


def test_the_seed_and_the_step_say_which_images():
    """Whatever was asked for before."""
    straight = [batch_indices(20, 8, 0, step) for step in range(6)]
    back = [batch_indices(20, 8, 0, step) for step in reversed(range(6))]
    assert all(np.array_equal(one, other) for one, other in zip(straight, back[::-1], strict=True))


def test_the_batch_size_does_not_change_the_order():
    small = np.concatenate([batch_indices(20, 4, 0, step) for step in range(12)])
    large = np.concatenate([batch_indices(20, 16, 0, step) for step in range(3)])
    assert np.array_equal(small, large)


def test_digits_are_images_of_every_class(digits):
    images, _ = digits
    assert images.images.shape == (1797, 1, 16, 16) and images.images.dtype == np.uint8
    assert len(images) == 1797 and sorted(set(images.labels.tolist())) == list(range(10))
    assert (images.images.min(), images.images.max()) == (0, 255)


def test_what_is_prepared_is_read_and_not_made_again(digits):
    images, root = digits
    folder = root / "digits_16"
    before = {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.iterdir()}
    (copy,) = folder.glob("labels.npy")
    labels = np.load(copy)
    labels[0] += 100
    np.save(copy, labels)
    again = prepare(Data("digits", root=str(root)), MODEL)
    assert again.labels[0] == images.labels[0] + 100 and np.array_equal(again.images, images.images)
    del before[copy]
    assert before == {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in before}


def test_each_size_is_prepared_for_itself(digits):
    _, root = digits
    small = prepare(Data("digits", root=str(root)), Model(image_size=8, in_channels=1))
    assert small.images.shape == (1797, 1, 8, 8)
    assert {path.name for path in root.iterdir() if path.is_dir()} == {"digits_8", "digits_16"}


def test_a_batch_is_scaled_from_black_to_white(digits):
    images, _ = digits
    batches = BatchLoader(images, 8, slice(2, 6), seed=0, horizontal_flip=False, device=torch.device("cpu"))
    batch = batches.on_device(batches.make(step=300))  # reaches from one epoch into the next
    expected = batch_indices(len(images), 8, 0, 300)[2:6]
    assert np.array_equal(batch.indices, expected) and np.array_equal(batch.labels, images.labels[expected])
    assert batch.x_0.dtype == torch.float32 and (batch.x_0.min(), batch.x_0.max()) == (-1, 1)
    assert torch.allclose(batch.x_0, torch.from_numpy(images.images[expected]).float() / 127.5 - 1, atol=1e-6)
