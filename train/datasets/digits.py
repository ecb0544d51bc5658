"""scikit-learn's handwritten digits: a small data set that is there without a download."""

from collections.abc import Generator
from pathlib import Path

from configs.schema import Data, Model
from train.datasets.images import Batch, Images

COUNT = 1797


def read(data: Data, model: Model, downloads: Path) -> Images:
    """1,797 digits, 8×8 in 17 greys, enlarged to [1, S, S]."""
    return Images("scikit-learn", COUNT, _batches(model.image_size), [str(digit) for digit in range(10)], COUNT)


def _batches(image_size: int) -> Generator[Batch, None, None]:
    import torch
    from sklearn.datasets import load_digits
    from torch.nn import functional as F

    small, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(small.reshape(-1, 1, 8, 8)) * (255 / 16)
    images = F.interpolate(images, size=image_size, mode="bilinear", align_corners=False)
    yield images.round().to(torch.uint8).numpy(), labels
