"""Tensors as pictures."""

import io

import numpy as np
from PIL import Image
from torch import Tensor

GAP = 1  # pixels between images
LATENT_RANGE = 3.0  # standard deviations of the noise that black and white stand for


def strip(images: Tensor, largest: float = 1.0) -> Image.Image:
    """Images [n, C, H, W] one below the other, −largest as black and largest as white; 1, 3 or more channels."""
    pixels = ((images / largest).clamp(-1, 1) + 1) * 127.5
    array = pixels.round().byte().permute(0, 2, 3, 1).numpy()
    array = array[..., :3] if array.shape[-1] >= 3 else array[..., :1].repeat(3, axis=-1)
    array = np.pad(array, ((0, 0), (0, GAP), (0, 0), (0, 0)), constant_values=255)
    return Image.fromarray(array.reshape(-1, *array.shape[2:])[:-GAP])


def to_png(image: Image.Image) -> bytes:
    data = io.BytesIO()
    image.save(data, format="PNG")
    return data.getvalue()
