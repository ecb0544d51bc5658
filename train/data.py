"""Data sets → uint8 arrays on disk, prepared once → batches addressed by (seed, step)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

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

    def batch(self, indices: np.ndarray) -> tuple[Tensor, Tensor]:
        """The images of some indices as float32 [n, C, S, S] in [−1, 1], and their labels [n]."""
        images = torch.from_numpy(self.images[indices]).float() / 127.5 - 1
        return images, torch.from_numpy(self.labels[indices])


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
    orders = {epoch: generator(seed, "order", int(epoch)).permutation(images) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])
