"""Halves of a dataset are disjoint, complete, balanced over classes, and the same everywhere."""

import json
import subprocess
import sys

import numpy as np
import pytest

from configs.errors import UserError
from records.layout import saved_steps, seed_folder
from train.datasets.halves import half_indices
from train.trainer import train

SORTED = np.repeat(np.arange(10), 37)  # the order of a folder: class by class
ALTERNATING = np.arange(370) % 10
NO_CLASSES = np.zeros(371, np.int64)
RARE = np.array([0, 0, 1, 1, 1, 2, 2, 2, 3, 4, 4])  # class 3 has a single image


@pytest.mark.parametrize("labels", [SORTED, ALTERNATING, NO_CLASSES, RARE])
def test_halves_are_disjoint_and_complete(labels):
    first, second = half_indices(labels, "first"), half_indices(labels, "second")
    assert np.array_equal(np.sort(np.concatenate([first, second])), np.arange(len(labels)))
    assert 0 <= len(first) - len(second) <= 1


@pytest.mark.parametrize("labels", [SORTED, ALTERNATING, RARE])
def test_halves_contain_equally_many_images_of_every_class(labels):
    first, second = (np.bincount(labels[half_indices(labels, half)], minlength=10) for half in ("first", "second"))
    assert np.abs(first - second).max() <= 1


def test_images_of_a_class_are_shuffled():
    """Halves of a sorted data set are not its beginning and end, and not its even and odd images."""
    first = half_indices(NO_CLASSES, "first")
    assert 0.4 < (first < len(NO_CLASSES) / 2).mean() < 0.6 and 0.4 < (first % 2).mean() < 0.6


def test_halves_are_the_same_on_every_machine():
    """The indices are those that were computed when the option was introduced."""
    expected = [4, 7, 8, 10, 11, 14, 16, 17, 18, 19, 20, 24, 25, 26, 27, 29, 31, 33, 35]
    assert half_indices(SORTED, "first")[:19].tolist() == expected


def test_command_prints_the_size_of_the_half(command_line, tmp_path, repository):
    command = [sys.executable, "-m", "train.datasets", *command_line(tmp_path, "data.half=second")]
    output = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stdout
    assert "1,797 images" in output and "data.half=second: training uses 898 of them" in output


def test_half_is_recorded_and_cannot_change(tiny):
    train(tiny("data.half=first"))
    folder = seed_folder(tiny(), 0)
    for step in saved_steps(folder.checkpoints):
        recorded = json.loads((folder.checkpoint(step) / "checkpoint.json").read_text())["data"]
        assert recorded == {"name": "digits", "half": "first", "horizontal_flip": False, "skip_damaged": False}
    for half in ("second", "null"):
        with pytest.raises(UserError, match=r"different configuration \(data\.half: first, now (second|null)\)"):
            train(tiny(f"data.half={half}"))


def test_run_that_is_older_than_the_option_uses_all_images(tiny):
    """Its config.yaml does not contain the option."""
    train(tiny())
    config = seed_folder(tiny(), 0).config
    config.write_text(config.read_text().replace("  half: null\n", ""))
    assert "half" not in config.read_text()
    train(tiny("train.steps=10"))
    with pytest.raises(UserError, match=r"different configuration \(data\.half: null, now first\)"):
        train(tiny("data.half=first"))
