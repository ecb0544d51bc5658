"""Fixtures for dataset tests: preparing a dataset in a temporary folder, and writing images."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.schema import Data, Model
from train.datasets.prepared import prepared_folder


@dataclass(frozen=True)
class Prepared:
    """A prepared dataset, read back."""

    folder: Path
    images: np.ndarray
    labels: np.ndarray
    about: dict


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "prepared"


@pytest.fixture
def prepare(root):
    """A function that prepares a dataset and reads it back."""

    def read_back(name, source=None, side=32, channels=3, classes=None, workers=1, skip_damaged=False) -> Prepared:
        data = Data(name=name, root=str(root), workers=workers, skip_damaged=skip_damaged)
        data.source = None if source is None else str(source)
        folder = prepared_folder(data, Model(image_size=side, in_channels=channels, num_classes=classes))
        about = json.loads((folder / "about.json").read_text())
        return Prepared(folder, np.load(folder / "images.npy"), np.load(folder / "labels.npy"), about)

    return read_back


@pytest.fixture
def picture(tmp_path):
    """A function that writes an image of a single color below `pictures` and returns that folder."""

    def write(name: str, color=(200, 100, 50), size=(10, 8), mode="RGB", **options) -> Path:
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new(mode, size, color).save(path, **options)
        return tmp_path / "pictures"

    return write


@pytest.fixture
def names(root):
    """A function that lists the folder of prepared datasets without lock files."""
    return lambda: sorted(path.name for path in root.iterdir() if not path.name.endswith(".lock"))
