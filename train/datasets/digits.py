"""Handwritten digits of scikit-learn: a small dataset that needs no download."""

from collections.abc import Generator
from pathlib import Path

from configs.schema import Data, Model
from train.datasets.images import LabeledImages, RawDataset

IMAGES = 1797


def read(data: Data, model: Model, downloads: Path) -> RawDataset:
    """Read 1,797 digits, 8×8 pixels in 17 gray levels, enlarged to [1, S, S]."""
    return RawDataset("scikit-learn", IMAGES, _batches(model.image_size), [str(digit) for digit in range(10)], IMAGES)


def _batches(image_size: int) -> Generator[LabeledImages, None, None]:
    import torch
    from sklearn.datasets import load_digits
    from torch.nn import functional as F

    pixels, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(pixels.reshape(-1, 1, 8, 8)) * (255 / 16)
    images = F.interpolate(images, size=image_size, mode="bilinear", align_corners=False)
    yield images.round().to(torch.uint8).numpy(), labels
