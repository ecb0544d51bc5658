"""Datasets are prepared once; the images of a step are a function of (seed, step)."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import Data, Model
from records.atomic import file_digest, read_json, write_json
from train.batches import BatchLoader
from train.data import batch_indices, load_dataset
from train.datasets.halves import half_indices

MODEL = Model(image_size=16, in_channels=1)


@pytest.fixture
def digits(tmp_path):
    """The digits at 16 pixels, and the folder of prepared datasets."""
    return load_dataset(Data("digits", root=str(tmp_path)), MODEL), tmp_path


@pytest.mark.parametrize("dataset_size, batch_size", [(10, 5), (10, 3), (7, 7), (5, 13), (1, 4)])
def test_each_epoch_has_every_image_once(dataset_size, batch_size):
    """Also if batches span two or more epochs."""
    epochs = 6
    steps = range(-(-epochs * dataset_size // batch_size))
    order = np.concatenate([batch_indices(dataset_size, batch_size, 3, step) for step in steps])[
        : epochs * dataset_size
    ]
    assert (np.sort(order.reshape(epochs, dataset_size), axis=1) == np.arange(dataset_size)).all()


def test_each_epoch_has_a_different_order():
    orders = {tuple(batch_indices(50, 50, seed, step)) for seed in (0, 10) for step in range(4)}
    assert len(orders) == 8


def test_indices_do_not_depend_on_earlier_calls():
    ascending = [batch_indices(20, 8, 0, step) for step in range(6)]
    descending = [batch_indices(20, 8, 0, step) for step in reversed(range(6))]
    assert np.array_equal(ascending, descending[::-1])


def test_order_does_not_depend_on_the_batch_size():
    small = np.concatenate([batch_indices(20, 4, 0, step) for step in range(12)])
    large = np.concatenate([batch_indices(20, 16, 0, step) for step in range(3)])
    assert np.array_equal(small, large)


def test_digits_have_images_of_all_classes(digits):
    dataset, _ = digits
    assert dataset.images.shape == (1797, 1, 16, 16) and dataset.images.dtype == np.uint8
    assert len(dataset) == 1797 and sorted(set(dataset.labels.tolist())) == list(range(10))
    assert (dataset.images.min(), dataset.images.max()) == (0, 255)


@pytest.mark.parametrize("half, num_classes, used", [(None, None, False), ("first", None, True), (None, 10, True)])
def test_digest_covers_labels_if_training_uses_them(digits, half, num_classes, used):
    """So that a run does not resume on other labels."""
    _, root = digits
    data, model = Data("digits", root=str(root), half=half), replace(MODEL, num_classes=num_classes)
    before = load_dataset(data, model).digest
    folder = root / "digits_16"
    np.save(folder / "labels.npy", np.load(folder / "labels.npy")[::-1])
    about = read_json(folder / "about.json")
    about["sha256"]["labels.npy"] = file_digest(folder / "labels.npy")
    write_json(folder / "about.json", about)
    assert (load_dataset(data, model, verify=True).digest != before) == used


@pytest.mark.parametrize(("num_classes", "noted"), [(11, True), (10, False), (None, False)])
def test_classes_without_images_are_noted(digits, num_classes, noted, capsys):
    _, root = digits
    load_dataset(Data("digits", root=str(root)), replace(MODEL, num_classes=num_classes), verify=True)
    assert ("the data have 10 classes, fewer than model.num_classes=11" in capsys.readouterr().err) == noted


def test_other_digests_are_rejected_unless_none_was_recorded(digits):
    dataset = replace(digits[0], digest="1a 2b")
    for recorded in (None, "1a 2b"):
        dataset.check_unchanged(recorded, Path("run"))
    for recorded in ("1a", "2b"):
        with pytest.raises(UserError, match="run was trained on other images or labels"):
            dataset.check_unchanged(recorded, Path("run"))


def test_prepared_dataset_is_reused(digits):
    dataset, root = digits
    folder = root / "digits_16"
    before = {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in folder.iterdir()}
    labels_file = folder / "labels.npy"
    labels = np.load(labels_file)
    labels[0] += 100
    np.save(labels_file, labels)
    reloaded = load_dataset(Data("digits", root=str(root)), MODEL)
    assert reloaded.labels[0] == dataset.labels[0] + 100 and np.array_equal(reloaded.images, dataset.images)
    del before[labels_file]
    assert before == {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in before}


def test_a_changed_pixel_is_noticed_if_the_dataset_is_verified(digits):
    dataset, root = digits
    images = np.array(dataset.images)
    images[7, 0, 3, 3] += 1
    np.save(root / "digits_16" / "images.npy", images)
    load_dataset(Data("digits", root=str(root)), MODEL)
    with pytest.raises(UserError, match=r"the digest of images\.npy does not match about\.json"):
        load_dataset(Data("digits", root=str(root)), MODEL, verify=True)


def test_each_image_size_has_a_separate_folder(digits):
    _, root = digits
    small = load_dataset(Data("digits", root=str(root)), Model(image_size=8, in_channels=1))
    assert small.images.shape == (1797, 1, 8, 8)
    assert {path.name for path in root.iterdir() if path.is_dir()} == {"digits_8", "digits_16"}


def test_batch_is_scaled_to_minus_one_to_one(digits):
    dataset, _ = digits
    loader = BatchLoader(dataset, 8, slice(2, 6), seed=0, horizontal_flip=False, device=torch.device("cpu"))
    batch = loader.to_device(loader.load(step=300))  # spans two epochs
    expected = batch_indices(len(dataset), 8, 0, 300)[2:6]
    assert np.array_equal(batch.indices, expected) and np.array_equal(batch.labels, dataset.labels[expected])
    assert batch.x_0.dtype == torch.float32 and (batch.x_0.min(), batch.x_0.max()) == (-1, 1)
    assert torch.allclose(batch.x_0, torch.from_numpy(dataset.images[expected]).float() / 127.5 - 1, atol=1e-6)


def test_batches_of_a_half_contain_only_its_images(digits):
    """Indices refer to the whole dataset; an epoch has each image of the half once."""
    _, root = digits
    half = load_dataset(Data("digits", root=str(root), half="second"), MODEL)
    loader = BatchLoader(half, 100, slice(0, 100), seed=0, horizontal_flip=False, device=torch.device("cpu"))
    batches = [loader.load(step) for step in range(9)]
    indices = torch.cat([batch.indices for batch in batches])[: len(half)]
    expected = half_indices(half.labels, "second")
    assert len(half) == 898 and np.array_equal(np.sort(indices), expected)
    last = batches[-1]  # begins the second epoch
    assert np.array_equal(last.labels, half.labels[last.indices]) and set(last.indices.tolist()) <= set(expected)
    assert np.array_equal(last.x_0, half.images[last.indices])
