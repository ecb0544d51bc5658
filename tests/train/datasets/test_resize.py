"""Resizing and cropping, pixel for pixel equal to improved-diffusion's data loader."""

import numpy as np
import pytest
from PIL import Image

from train.datasets.resize import read_images, resize_and_crop

NAMES = ["grey_131x129", "landscape_217x150", "palette_70x64", "portrait_97x260", "rgba_90x200", "small_20x31"]


@pytest.fixture(scope="module")
def reference(repository):
    return repository / "tests" / "reference" / "resize"


@pytest.mark.parametrize("side", [32, 64])
def test_pixels_equal_improved_diffusion(side, reference):
    images, damaged, _ = read_images(reference, [f"{name}.png" for name in NAMES], side, channels=3)
    assert not damaged
    with np.load(reference / "expected.npz") as expected:
        for name, image in zip(NAMES, images, strict=True):
            np.testing.assert_array_equal(image.transpose(1, 2, 0), expected[f"{name}.png@{side}"], err_msg=name)


def test_single_channel_is_the_grayscale_of_rgb(reference):
    (gray,), *_ = read_images(reference, ["landscape_217x150.png"], 32, channels=1)
    (color,), *_ = read_images(reference, ["landscape_217x150.png"], 32, channels=3)
    assert gray.shape == (1, 32, 32)
    np.testing.assert_array_equal(gray[0], np.asarray(Image.fromarray(color.transpose(1, 2, 0)).convert("L")))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_any_mode_becomes_rgb(mode):
    square = resize_and_crop(Image.new(mode, (70, 33)), 16)
    assert (square.mode, square.size) == ("RGB", (16, 16))


def test_16_bit_image_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((20, 20), 0x8000, np.uint16)).save(tmp_path / "deep.png")
    (image,), *_ = read_images(tmp_path, ["deep.png"], 8, channels=3)
    assert np.unique(image) == 128


def test_16_bit_image_of_many_rows_is_converted_in_order():
    values = np.arange(700 * 3, dtype=np.uint16).reshape(700, 3) * 31
    image = resize_and_crop(Image.fromarray(values), 3)
    expected = resize_and_crop(Image.fromarray((values >> 8).astype(np.uint8)), 3)
    np.testing.assert_array_equal(np.asarray(image), np.asarray(expected))
