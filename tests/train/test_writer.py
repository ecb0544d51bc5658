"""Background writing: order, errors, and copies that later training steps do not change."""

import threading

import numpy as np
import pytest
import torch

from train.writer import BackgroundWriter, snapshot


@pytest.fixture
def writer():
    writer = BackgroundWriter()
    yield writer
    writer.close()


def test_what_is_written_is_the_content_at_the_time_of_the_call(writer):
    written, may_write = [], threading.Event()
    weights = torch.ones(3)

    def write(content):
        assert may_write.wait(10)
        written.append(content["weights"].tolist())

    writer.write(write, {"weights": weights})
    weights.zero_()
    assert written == []
    may_write.set()
    writer.write(write, {"weights": weights})
    writer.wait()
    assert written == [[1, 1, 1], [0, 0, 0]]


def test_an_error_is_raised_once_by_the_next_call(writer):
    def fail(content):
        raise OSError("the disk is full")

    writer.write(fail, {})
    with pytest.raises(OSError, match="the disk is full"):
        writer.write(fail, {})
    writer.wait()


def test_closing_finishes_the_write_and_raises_nothing():
    writer, finished = BackgroundWriter(), threading.Event()

    def write(content):
        finished.set()
        raise OSError("the disk is full")

    writer.write(write, {})
    writer.close()
    assert finished.is_set()


def test_snapshots_copy_nested_tensors_with_their_layout():
    counts = np.zeros(2)
    weights = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last).requires_grad_()
    content = {
        "network": {"weights": weights},
        "groups": [{"lr": 0.1, "params": [0]}],
        "counts": torch.from_numpy(counts),
    }
    copy = snapshot(content)
    counts += 1
    with torch.no_grad():
        expected = weights.clone()
        weights.zero_()
    assert torch.equal(copy["network"]["weights"], expected) and copy["counts"].tolist() == [0, 0]
    assert copy["network"]["weights"].stride() == weights.stride() and not copy["network"]["weights"].requires_grad
    assert copy["groups"] == content["groups"] and copy["groups"][0] is not content["groups"][0]
