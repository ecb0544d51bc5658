"""Images between noise and latent: pixels, numbers and labels, and their mean distances."""

import numpy as np
import pytest
import torch
from matplotlib.image import AxesImage

from analyze.report.figures.self_interpolation import ROWS, draw_interpolation_distances, draw_self_interpolations

LAMBDAS = (0.0, 0.5, 1.0)


@pytest.fixture
def images() -> torch.Tensor:
    """Return images [3, 8, 1, 6, 6] at three λ; image i is i/10 brighter at λ = ½ and i/5 at λ = 1."""
    start = torch.rand(8, 1, 6, 6, generator=torch.Generator().manual_seed(0)) - 0.5
    return torch.stack([start + λ * torch.arange(8.0).reshape(8, 1, 1, 1) / 5 for λ in LAMBDAS])


def test_rows_are_noises_and_columns_are_lambdas(images):
    pictures = [np.asarray(image.get_array()) for image in draw_self_interpolations(LAMBDAS, images).findobj(AxesImage)]
    assert len(pictures) == ROWS
    for i, picture in enumerate(pictures):
        times = picture.shape[0] // 6
        for column in range(3):
            pixels = picture[::times, ::times, 0][:, 7 * column : 7 * column + 6]
            expected = (images[column, i, 0].clamp(-1, 1) + 1) * 127.5
            np.testing.assert_array_equal(pixels, expected.round().byte())


def test_distance_from_the_first_image_is_below(images, texts):
    labels = texts(draw_self_interpolations(LAMBDAS, images))
    assert [label for label in labels if "." in label and "λ" not in label] == [
        f"{distance:#.3g}" for i in range(ROWS) for distance in (6 * i / 10, 6 * i / 5)
    ]
    assert [labels.count(name) for name in ("noise $x_T$", "λ = 0.5", r"latent $\hat{x}_T$")] == [1, 1, 1]


def test_distances_are_means_over_seeds_with_their_deviation(texts):
    distances = {"to_start": [[0.0, 1.0, 2.0], [0.0, 3.0, 2.0]], "to_data": [[4.0, 5.0, 6.0], [4.0, 5.0, 7.0]]}
    figure = draw_interpolation_distances(LAMBDAS, distances)
    start, data = figure.axes[0].lines
    np.testing.assert_allclose(start.get_xydata(), [[0, 0], [0.5, 2], [1, 2]])
    np.testing.assert_allclose(data.get_ydata(), [4, 5, 6.5])
    band = figure.axes[0].collections[0].get_paths()[0].vertices
    assert sorted({round(y, 6) for x, y in band if x == 0.5}) == pytest.approx([2 - 2**0.5, 2 + 2**0.5])
    assert {"from the image at λ = 0", "from the nearest training image", "mean L2 distance"} <= set(texts(figure))


def test_one_seed_without_training_images_has_one_line(texts):
    figure = draw_interpolation_distances(LAMBDAS, {"to_start": [[0.0, 1.0, 2.0]]})
    assert len(figure.axes[0].lines) == 1 and "from the nearest training image" not in texts(figure)
