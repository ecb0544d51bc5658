"""Tensors as pictures."""

import io

import numpy as np
from PIL import Image
from torch import Tensor

GAP = 1  # pixels between images
LATENT_RANGE = 3.0  # black and white, in standard deviations of the noise


def strip(images: Tensor, largest: float = 1.0) -> Image.Image:
    """Stack images [n, C, H, W] vertically; −largest is black and largest is white."""
    return grid(images, 1, largest)


def grid(images: Tensor, columns: int, largest: float = 1.0) -> Image.Image:
    """Arrange images [n, C, H, W] in rows of `columns`; the first three channels are the colors."""
    pixels = ((images / largest).clamp(-1, 1) + 1) * 127.5
    array = pixels.round().byte().permute(0, 2, 3, 1).numpy()
    array = array[..., :3] if array.shape[-1] >= 3 else array[..., :1].repeat(3, axis=-1)
    rows = -(-len(array) // columns)
    array = np.pad(array, ((0, rows * columns - len(array)), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    _, height, width, _ = array.shape
    array = array.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return Image.fromarray(array.reshape(rows * height, columns * width, 3)[:-GAP, :-GAP])


def to_png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()
