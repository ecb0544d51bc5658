"""Prepared datasets as arrays, and the order in which training reads their images."""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from diffusion.randomness import generator
from train.datasets.halves import half_indices
from train.datasets.prepared import ARRAYS, check_digests, prepared_folder, read_about


@dataclass(frozen=True)
class ImageDataset:
    """Images uint8 [N, C, S, S], memory-mapped from disk, and their labels int64 [N].

    `subset` contains the indices of the images that training uses; None: all. `digest` identifies the content that
    training depends on: the SHA-256 of the images and, if they are used, of the labels. `folder` is the prepared data
    set, if any.
    """

    images: np.ndarray
    labels: np.ndarray
    subset: np.ndarray | None = None
    digest: str | None = None
    folder: Path | None = None

    def __len__(self) -> int:
        """Return the number of training images."""
        return len(self.images if self.subset is None else self.subset)

    def indices(self, numbers: np.ndarray) -> np.ndarray:
        """Return the indices of the training images with numbers from 0 to len(self) − 1."""
        return numbers if self.subset is None else self.subset[numbers]

    def check_unchanged(self, recorded: str | None, run: Path) -> None:
        """Raise UserError unless the data have a digest that a run recorded; before version 0.3, runs recorded none."""
        if recorded not in (None, self.digest):
            raise UserError(
                f"{run} was trained on other images or labels than those in {self.folder}; restore them, or give the "
                "experiment another name=…"
            )


def load_dataset(data: Data, model: Model, verify: bool = False) -> ImageDataset:
    """Load an experiment's dataset; prepare it under `data.root` on first use: see `train.datasets.prepared`.

    `verify` reads it completely to compare its digests. Raises UserError if it is damaged.
    """
    folder = prepared_folder(data, model)
    labels = np.load(folder / "labels.npy")
    if verify:
        check_digests(folder)
        _note_unused_classes(labels, model)
    subset = half_indices(labels, data.half) if data.half else None
    uses_labels = data.half is not None or model.num_classes is not None
    digests = read_about(folder).get("sha256", {})
    digest = " ".join(str(digests.get(name)) for name in (ARRAYS if uses_labels else ARRAYS[:1]))
    return ImageDataset(np.load(folder / "images.npy", mmap_mode="r"), labels, subset, digest, folder)


def _note_unused_classes(labels: np.ndarray, model: Model) -> None:
    classes = int(labels.max()) + 1
    if model.num_classes is not None and model.num_classes > classes:
        print(
            f"note: the data have {classes} classes, fewer than model.num_classes={model.num_classes}", file=sys.stderr
        )


def batch_indices(dataset_size: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Return a step's global batch [batch_size] as numbers from 0 to dataset_size − 1.

    Each epoch is a new permutation of the dataset. Epochs follow each other without a gap, so that a batch may span
    several and no image is skipped.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, offsets = np.divmod(positions, dataset_size)
    orders = {epoch: _epoch_order(dataset_size, seed, int(epoch)) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][offset] for epoch, offset in zip(epochs, offsets, strict=True)])


@functools.lru_cache(maxsize=2)
def _epoch_order(dataset_size: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(dataset_size)
