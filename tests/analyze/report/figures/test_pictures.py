"""Rows of pictures: pixels, order and labels."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage
from torch import Tensor

from analyze.measures.mistakes import mapping_mistakes
from analyze.report.figures.pictures import (
    COLUMNS,
    NOISES_SHOWN,
    PictureRow,
    draw_by_variance,
    draw_mistakes,
    draw_pictures,
    draw_rows,
    draw_training,
    spread,
)
from analyze.report.figures.style import PAGE
from records.pictures import LATENT_RANGE

SIDE = 6


@pytest.fixture
def random():
    """Return a function that returns random tensors [n, C, 6, 6] in (−1, 1)."""

    def tensor(seed: int, n: int = 12, channels: int = 3) -> Tensor:
        return torch.rand(n, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)) * 2 - 1

    return tensor


def shown(figure) -> list[list[np.ndarray]]:
    """Return the pixels [H, W, 3] of every image of every row."""
    return [_images(picture) for picture in figure.findobj(AxesImage)]


def _images(picture: AxesImage) -> list[np.ndarray]:
    array = np.asarray(picture.get_array())
    times = array.shape[0] // SIDE
    pixels = array[::times, ::times]
    return [pixels[:, start : start + SIDE] for start in range(0, pixels.shape[1], SIDE + 1)]


def as_shown(image: Tensor, largest: float = 1.0) -> np.ndarray:
    pixels = ((image / largest).clamp(-1, 1) + 1) * 127.5
    return pixels.round().byte().expand(3, -1, -1).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_image_latent_and_difference_are_rows(random, texts, channels):
    noise, samples, latents = (random(seed, channels=channels) for seed in range(3))
    figure = draw_pictures(3 * noise, samples, 3 * latents)
    rows = shown(figure)
    assert [len(row) for row in rows] == [COLUMNS] * 4
    np.testing.assert_array_equal(rows[0][1], as_shown(3 * noise[1], LATENT_RANGE))
    np.testing.assert_array_equal(rows[1][7], as_shown(samples[7]))
    np.testing.assert_array_equal(rows[2][0], as_shown(3 * latents[0], LATENT_RANGE))
    labels = texts(figure)
    assert {"noise $x_T$", "image $x_0$", r"latent $\hat{x}_T$", r"difference $\hat{x}_T$ − $x_T$"} <= set(labels)
    (largest,) = {float(text.rpartition(" ")[2]) for text in labels if text.startswith("black")} - {3.0}
    np.testing.assert_array_equal(rows[3][2], as_shown(3 * latents[2] - 3 * noise[2], largest))


def test_zero_difference_is_gray(random):
    noise = random(0)
    assert np.ptp(shown(draw_pictures(noise, noise, noise))[3]) == 0


def test_few_images_make_few_columns(random):
    assert [len(row) for row in shown(draw_pictures(random(0, 3), random(1, 3), random(2, 3)))] == [3] * 4


def test_mistakes_are_shown_with_the_nearest_images(random, texts):
    noise, samples = random(0), random(1)
    mistakes = mapping_mistakes(noise, samples)
    figure = draw_mistakes(samples, mistakes)
    rows, wrong, nearest = shown(figure), mistakes.noise_to_image.wrong, mistakes.noise_to_image.nearest
    for i in range(COLUMNS):
        np.testing.assert_array_equal(rows[0][i], as_shown(samples[wrong[i]]))
        np.testing.assert_array_equal(rows[1][i], as_shown(samples[nearest[i]]))
    np.testing.assert_array_equal(rows[2][0], as_shown(samples[mistakes.attracting_images.indices[0]]))
    labels = texts(figure)
    assert f"noise → image: {len(wrong)} of 12 wrong" in labels
    assert f"image → noise: {len(mistakes.image_to_noise.wrong)} of 12 wrong" in labels
    assert f"{mistakes.attracting_images.counts[0]} noises" in labels
    assert f"{mistakes.attracting_noises.counts[0]} images" in labels


def test_no_mistakes_are_shown_as_none(random, texts):
    samples = random(0)
    figure = draw_mistakes(samples, mapping_mistakes(samples, samples))
    assert texts(figure).count("none") == 6 and shown(figure) == []


def test_images_are_ordered_by_variance(random, texts):
    samples = random(0, 40) * torch.linspace(1, 0.1, 40)[:, None, None, None]
    variance = samples.flatten(1).double().var(dim=1, correction=0)
    order = mapping_mistakes(samples, samples).images_by_variance
    figure = draw_by_variance(samples, samples, order)
    rows = shown(figure)
    assert [len(row) for row in rows] == [COLUMNS] * 4
    np.testing.assert_array_equal(rows[0][0], as_shown(samples[variance.argmin()]))
    np.testing.assert_array_equal(rows[2][0], as_shown(samples[variance.argmax()]))
    labels = texts(figure)
    assert f"{variance.min():#.3g}" in labels and f"{variance.max():#.3g}" in labels
    assert {"lowest pixel\nvariance", "highest pixel\nvariance"} <= set(labels)


def test_training_has_one_row_per_noise_and_one_column_per_step(random, texts):
    noise, samples = random(0), {0: random(1), 2500: random(2), 700_000: random(3)}
    figure = draw_training(noise, samples)
    rows = shown(figure)
    assert [len(row) for row in rows] == [4] * NOISES_SHOWN
    np.testing.assert_array_equal(rows[2][0], as_shown(noise[2], LATENT_RANGE))
    np.testing.assert_array_equal(rows[3][2], as_shown(samples[2500][3]))
    assert {"$x_T$", "0", "2,500", "700,000"} <= set(texts(figure))


def test_pixels_are_square_and_everything_is_inside_the_figure(random):
    figure = draw_rows([PictureRow("a label\nof two lines", random(0, 5), above=list("abcde"), below=["0.123"] * 5)])
    figure.draw_without_rendering()
    (axes,) = figure.axes
    (width, height) = np.abs(axes.transData.transform((1, 1)) - axes.transData.transform((0, 0)))
    assert width == pytest.approx(height, rel=0.01)
    box = figure.get_tightbbox()
    assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= PAGE + 1e-6 and box.y1 <= figure.get_figheight() + 1e-6


def test_steps_are_evenly_spaced_in_the_logarithm():
    steps = [0, *range(5, 1000, 5), *range(1000, 700_001, 500)]
    chosen = spread(steps, 7)
    assert chosen[0] == 0 and chosen[1] == 5 and chosen[-1] == 700_000 and len(chosen) == 7
    ratios = [later / step for step, later in pairwise(chosen[1:])]
    assert max(ratios) / min(ratios) < 1.2
    assert spread([0, 2, 5, 8]) == [0, 2, 5, 8]
    assert spread(list(range(100)), 4) == [0, 1, 10, 99]


def test_images_of_few_mistakes_are_not_enlarged():
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(12, 3, 8, 8, generator=generator).clamp(-1, 1)
    noise = samples.clone()
    noise[1] = samples[0]  # one wrong pair
    few, many = (draw_mistakes(samples, mapping_mistakes(x_T, samples)) for x_T in (noise, samples.roll(1, 0)))
    heights = [
        max(axes.get_position().height * figure.get_figheight() for axes in figure.axes) for figure in (few, many)
    ]
    assert heights[0] == pytest.approx(heights[1])
