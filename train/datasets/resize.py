"""Resizing of image files to square uint8 arrays, pixel for pixel equal to improved-diffusion's loader."""

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from configs.errors import UserError, first_line, is_full_memory
from train.datasets.sources import file_size, open_file

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
MAX_FILE_BYTES = 2**29  # some readers copy the whole file into memory
MAX_ASPECT_RATIO = 200
ROWS_AT_ONCE = 256
LONG_ASPECT_RATIO = 2
HAS_TRANSPARENCY = "have an alpha channel or a transparent color, which is ignored"
IS_LONG = "are more than twice as long as wide; only the center square is used"


def resize_and_crop(image: Image.Image, side: int) -> Image.Image:
    """Scale the shorter side of an image to `side` and crop the center, RGB [side × side].

    The image is halved with a box filter while it is at least twice as large, then scaled bicubically. As in
    improved-diffusion (image_datasets.py), it is scaled in the mode of its file and converted to RGB afterwards, which
    keeps the colors of palette images.
    """
    image = _to_8_bit(image)
    while min(image.size) >= 2 * side:
        image = image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)
    scale = side / min(image.size)
    size = round(image.width * scale), round(image.height * scale)
    image = image.resize(size, Image.Resampling.BICUBIC).convert("RGB")
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert 16-bit grayscale to 8 bits; Pillow would clip it at 255, which leaves white."""
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image
    starts = range(0, image.height, ROWS_AT_ONCE)  # conversion of a large image at once would need gigabytes
    strips = [image.crop((0, top, image.width, min(top + ROWS_AT_ONCE, image.height))) for top in starts]
    return Image.fromarray(
        np.concatenate([(np.asarray(strip).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8) for strip in strips])
    )


class ReadImages(NamedTuple):
    """Intact images uint8 [n, C, S, S], damaged files with their reasons, and how many images each remark is on."""

    images: np.ndarray
    damaged: dict[str, str]
    remarks: Counter[str]


def read_images(source: Path, names: list[str], side: int, channels: int) -> ReadImages:
    """Read image files as squares.

    Raises UserError if a file cannot be opened at all, or if the memory is full.
    """
    arrays, damaged, remarks = [np.empty((0, channels, side, side), np.uint8)], {}, Counter[str]()
    for name in names:
        try:
            array, remarks_on_image = _read_image(source, name, side, channels)
            arrays.append(array[None])
            remarks.update(remarks_on_image)
        except UserError:
            raise
        except Exception as error:  # Pillow's readers raise arbitrary exceptions for damaged files
            if is_full_memory(error):  # on a machine with more memory, the image may be intact
                raise UserError(
                    f"{source}: the memory is too small to read {name}; free memory or remove the image"
                ) from None
            if isinstance(error, OSError) and error.errno is not None:
                raise UserError(f"{source}: {name} cannot be opened ({error.strerror})") from None
            damaged[name] = "not an image" if isinstance(error, UnidentifiedImageError) else first_line(error)
    return ReadImages(np.concatenate(arrays), damaged, remarks)


@functools.cache
def _formats() -> list[str]:
    """Return the formats that this build of Pillow reads; to read others, such as PostScript, it runs programs."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _read_image(source: Path, name: str, side: int, channels: int) -> tuple[np.ndarray, list[str]]:
    """Read an image as uint8 [channels, side, side], with remarks; of an animation, its first frame."""
    if (size := file_size(source, name)) > MAX_FILE_BYTES:
        raise ValueError(f"its {size:,} bytes exceed the limit of {MAX_FILE_BYTES:,}")
    with open_file(source, name) as file, Image.open(file, formats=_formats()) as image:
        if max(image.size) > MAX_ASPECT_RATIO * min(image.size):
            raise ValueError(f"its {image.width} × {image.height} pixels are too elongated to crop a square")
        square, remarks = resize_and_crop(image, side), list(_remarks(image))
    array = np.asarray(square.convert("L"))[None] if channels == 1 else np.asarray(square).transpose(2, 0, 1)
    return array, remarks


def _remarks(image: Image.Image) -> Iterator[str]:
    if image.has_transparency_data:
        yield HAS_TRANSPARENCY
    if max(image.size) > LONG_ASPECT_RATIO * min(image.size):
        yield IS_LONG
