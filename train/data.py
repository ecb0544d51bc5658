"""Prepared data sets as arrays, and which of their images make the batch of a step."""

import functools
from dataclasses import dataclass

import numpy as np

from configs.schema import Data, Model
from diffusion.randomness import generator
from train.datasets.prepared import prepared_folder


@dataclass(frozen=True)
class ImageSet:
    """Training images: uint8 [N, C, S, S], mapped from the disk, and their labels int64 [N]."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


def prepare(data: Data, model: Model) -> ImageSet:
    """The data set of an experiment, made on first use and kept under `data.root`: see `train.datasets.prepared`."""
    folder = prepared_folder(data, model)
    return ImageSet(np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def batch_indices(images: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Which images make the batch of a step [batch_size]: the data set is gone through again and again, each
    time in an order of its own, without a break between them, so that no image is left out.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, images)
    orders = {epoch: _order(images, seed, int(epoch)) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])


@functools.lru_cache(maxsize=2)
def _order(images: int, seed: int, epoch: int) -> np.ndarray:
    return generator(seed, "order", epoch).permutation(images)
