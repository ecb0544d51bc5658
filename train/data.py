"""Data sets → uint8 arrays on disk, prepared once → batches addressed by (seed, step)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from configs.schema import Data, Model
from diffusion.randomness import generator
from records.durable import new_folder, write_json


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


def digits(image_size: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 handwritten digits, 8×8 in 17 greys, enlarged to uint8 [N, 1, S, S]; labels [N]."""
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(small.reshape(-1, 1, 8, 8)) * (255 / 16)
    images = F.interpolate(images, size=image_size, mode="bilinear", align_corners=False)
    return images.round().to(torch.uint8).numpy(), labels.astype(np.int64)


MAKERS: dict[str, Callable[[int], tuple[np.ndarray, np.ndarray]]] = {"digits": digits}


def prepare(data: Data, model: Model) -> ImageSet:
    """The data set of an experiment, made on first use and kept under `data.root`."""
    folder = Path(data.root) / f"{data.name}_{model.image_size}"
    if not folder.exists():
        images, labels = MAKERS[data.name](model.image_size)
        with new_folder(folder) as aside:
            np.save(aside / "images.npy", images)
            np.save(aside / "labels.npy", labels)
            write_json(aside / "about.json", {"name": data.name, "images": list(images.shape)})
    return ImageSet(np.load(folder / "images.npy", mmap_mode="r"), np.load(folder / "labels.npy"))


def batch_indices(images: int, batch_size: int, seed: int, step: int) -> np.ndarray:
    """Which images make the batch of a step [batch_size]: the data set is gone through again and again, each
    time in an order of its own, without a break between them, so that no image is left out.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(positions, images)
    orders = {epoch: generator(seed, "order", int(epoch)).permutation(images) for epoch in np.unique(epochs)}
    return np.array([orders[epoch][place] for epoch, place in zip(epochs, places, strict=True)])
