"""Batches: functions of (seed, step) that do not depend on the number of processes, and their prefetching."""

import threading
import time

import numpy as np
import pytest
import torch

from train.batches import BatchLoader, prefetch
from train.data import ImageDataset, batch_indices

IMAGES = np.arange(10 * 2 * 4 * 4, dtype=np.uint64).reshape(10, 2, 4, 4).astype(np.uint8)
DATASET = ImageDataset(IMAGES, np.arange(10))


def loader(local: slice, flip: bool = False) -> BatchLoader:
    return BatchLoader(DATASET, 8, local, seed=3, horizontal_flip=flip, device=torch.device("cpu"))


@pytest.mark.parametrize("flip", [False, True])
def test_slices_of_two_processes_form_the_batch_of_a_single_one(flip):
    whole = loader(slice(0, 8), flip).load(7)
    halves = [loader(slice(0, 4), flip).load(7), loader(slice(4, 8), flip).load(7)]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(half, name) for half in halves])), name


def test_all_parts_of_a_batch_change_with_the_step():
    first, second = loader(slice(0, 8)).load(0), loader(slice(0, 8)).load(1)
    assert all(not torch.equal(getattr(first, name), getattr(second, name)) for name in vars(first))


def test_images_and_labels_match_the_indices():
    batch_loader = loader(slice(0, 8))
    batch = batch_loader.load(2)
    assert (batch.indices.numpy() == batch_indices(10, 8, 3, 2)).all() and torch.equal(batch.labels, batch.indices)
    expected = torch.from_numpy(IMAGES[batch.indices.numpy()]).float() / 127.5 - 1
    assert torch.equal(batch_loader.to_device(batch).x_0, expected)


def test_horizontal_flip_mirrors_about_half_of_the_images():
    mirrored = 0
    for step in range(50):
        plain, flipped = loader(slice(0, 8)).load(step).x_0, loader(slice(0, 8), flip=True).load(step).x_0
        for original, image in zip(plain, flipped, strict=True):
            assert torch.equal(image, original) or torch.equal(image, original.flip(2))
            mirrored += not torch.equal(image, original)
    assert 150 < mirrored < 250


def test_split_batches_concatenate_to_the_batch():
    batch = loader(slice(0, 8)).load(0)
    parts = batch.split(4)
    assert len(parts) == 4
    for name, value in vars(batch).items():
        assert torch.equal(value, torch.cat([getattr(part, name) for part in parts]))


def test_prefetch_keeps_the_order_and_is_bounded():
    loaded = []
    with prefetch(lambda i: loaded.append(i) or i, 5, 100) as items:
        assert [next(items) for _ in range(3)] == [5, 6, 7]
        time.sleep(0.3)
        assert loaded == list(range(5, 5 + len(loaded))) and len(loaded) < 12


def test_prefetch_raises_an_error_when_its_item_is_reached():
    def load(i: int) -> int:
        if i == 2:
            raise OSError("the disk failed")
        return i

    with prefetch(load, 0, 10) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(OSError, match="the disk failed"):
            next(items)


def test_prefetch_stops_its_thread_when_left_early():
    before = threading.active_count()
    with prefetch(lambda i: i, 0, 10**9) as items:
        next(items)
    assert threading.active_count() == before
