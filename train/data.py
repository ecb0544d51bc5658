"""Prepared datasets as arrays, and the order in which training reads their images."""

import functools
from dataclasses import dataclass

import numpy as np

from configs.schema import Data, Model
from diffusion.randomness import generator
from train.datasets.prepared import prepared_folder


@dataclass(frozen=True)
class ImageDataset:
    """Training images uint8 [N, C, S, S], memory-mapped from disk, and their labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def load_dataset(data: Data, model: Model) -> ImageDataset:
    """Load an experiment's dataset; prepare it under `data.root` on first use: see `train.datasets.prepared`."""
    folder = prepared_folder(data, model)
    return ImageDataset(np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def batch_indices(dataset_size: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Return the indices of the images in a step's global batch [batch_size].

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
