"""Image files of any size and kind → square uint8 arrays, to the pixel as improved-diffusion's loader makes them."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from configs.errors import UserError
from train.datasets.sources import open_file


def resized(image: Image.Image, side: int) -> Image.Image:
    """The centre of an image, RGB [side × side], its smaller side scaled to `side`.

    Halved as long as it is at least twice as large, which averages all pixels, and then scaled bicubically. As in
    improved-diffusion (image_datasets.py), an image is scaled in the mode of its file, so that one with a palette
    keeps its colours, and becomes RGB only afterwards.
    """
    image = _eight_bits(image)
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    image = image.resize(size, Image.Resampling.BICUBIC).convert("RGB")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit greys as 8-bit ones; Pillow would cut them off at 255, which leaves white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))


def read_images(source: Path, names: list[str], side: int, channels: int) -> tuple[np.ndarray, dict[str, str]]:
    """The images of some files, uint8 [n, channels, side, side], and what is wrong with each damaged one, left out."""
    arrays, damaged = [np.empty((0, channels, side, side), np.uint8)], {}
    for name in names:
        try:
            arrays.append(_read_image(source, name, side, channels)[None])
        except UserError:
            raise
        except Exception as error:  # Pillow's readers raise whatever a broken file makes them stumble over
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(f"{source}: {name} cannot be opened ({error.strerror})") from None
            damaged[name] = "not an image" if isinstance(error, UnidentifiedImageError) else str(error)
    return np.concatenate(arrays), damaged


def _read_image(source: Path, name: str, side: int, channels: int) -> np.ndarray:
    """uint8 [channels, side, side]; the first frame of a moving one."""
    with open_file(source, name) as file, Image.open(file) as image:
        square = resized(image, side)
    if channels == 1:
        return np.asarray(square.convert("L"))[None]
    return np.asarray(square).transpose(2, 0, 1)
