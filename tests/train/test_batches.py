"""BatchLoader: functions of (seed, step), the same however many processes share them, made ahead in order."""

import threading
import time

import numpy as np
import pytest
import torch

from train.batches import BatchLoader, prefetch
from train.data import ImageSet, batch_indices

IMAGES = np.arange(10 * 2 * 4 * 4, dtype=np.uint64).reshape(10, 2, 4, 4).astype(np.uint8)
IMAGE_SET = ImageSet(IMAGES, np.arange(10))


def batches(share: slice, flip: bool = False) -> BatchLoader:
    return BatchLoader(IMAGE_SET, 8, share, seed=3, horizontal_flip=flip, device=torch.device("cpu"))


@pytest.mark.parametrize("flip", [False, True])
def test_processes_share_what_one_would_draw(flip):
    whole = batches(slice(0, 8), flip).make(7)
    halves = [batches(slice(0, 4), flip).make(7), batches(slice(4, 8), flip).make(7)]
    for name, value in vars(whole).items():
        assert torch.equal(value, torch.cat([getattr(half, name) for half in halves])), name


def test_another_step_draws_everything_anew():
    one, other = batches(slice(0, 8)).make(0), batches(slice(0, 8)).make(1)
    assert all(not torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


def test_pixels_and_labels_are_those_of_the_indices():
    made = batches(slice(0, 8))
    batch = made.make(2)
    assert (batch.indices.numpy() == batch_indices(10, 8, 3, 2)).all() and torch.equal(batch.labels, batch.indices)
    expected = torch.from_numpy(IMAGES[batch.indices.numpy()]).float() / 127.5 - 1
    assert torch.equal(made.on_device(batch).x_0, expected)


def test_flipping_mirrors_about_half_of_the_images_and_nothing_else():
    mirrored = 0
    for step in range(50):
        plain, flipped = batches(slice(0, 8)).make(step).x_0, batches(slice(0, 8), flip=True).make(step).x_0
        for one, other in zip(plain, flipped, strict=True):
            assert torch.equal(other, one) or torch.equal(other, one.flip(2))
            mirrored += not torch.equal(other, one)
    assert 150 < mirrored < 250


def test_parts_put_together_are_the_batch():
    batch = batches(slice(0, 8)).make(0)
    parts = batch.parts(4)
    assert len(parts) == 4
    for name, value in vars(batch).items():
        assert torch.equal(value, torch.cat([getattr(part, name) for part in parts]))


def test_reading_ahead_keeps_the_order_and_does_not_run_away():
    made = []
    with prefetch(lambda i: made.append(i) or i, 5, 100) as items:
        assert [next(items) for _ in range(3)] == [5, 6, 7]
        time.sleep(0.3)
        assert made == list(range(5, 5 + len(made))) and len(made) < 12


def test_what_goes_wrong_ahead_is_raised_when_it_is_reached():
    def make(i: int) -> int:
        if i == 2:
            raise OSError("the disk went away")
        return i

    with prefetch(make, 0, 10) as items:
        assert [next(items), next(items)] == [0, 1]
        with pytest.raises(OSError, match="the disk went away"):
            next(items)


def test_leaving_early_leaves_no_thread_behind():
    before = threading.active_count()
    with prefetch(lambda i: i, 0, 10**9) as items:
        next(items)
    assert threading.active_count() == before
