"""Drawn triangles: angles, lengths and labels."""

import math

import numpy as np
import pytest
from matplotlib.patches import Arc, Polygon

from analyze.report.figures.triangle import corners, draw_triangle
from analyze.report.metrics import CORNERS

DISTANCES = {"noise_latent": 32.29, "image_latent": 33.15, "image_noise": 56.65}


def angles(noise: float, image: float, latent: float) -> dict[str, float]:
    return {"noise": noise, "image": image, "latent": latent}


def angle_at(corner: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    a, b = first - corner, second - corner
    return math.degrees(math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


@pytest.mark.parametrize(
    "expected",
    [
        angles(31, 30, 119),
        angles(76, 6, 98),
        angles(60, 60, 60),
        angles(130, 10, 40),
        angles(20.5, 140, 19.5),
        angles(90, 0, 90),
        angles(0, 0, 180),
        angles(180, 0, 0),
        angles(0, 180, 0),
    ],
)
def test_drawn_angles_match(expected):
    figure = draw_triangle(expected, DISTANCES)
    (axes,) = figure.axes
    (shape,) = [patch for patch in axes.patches if isinstance(patch, Polygon)]
    figure.draw_without_rendering()
    drawn = axes.transData.transform(shape.get_xy()[:3])  # pixels, to detect stretched axes
    for i, corner in enumerate(CORNERS):
        first, second = drawn[i - 2], drawn[i - 1]
        if np.linalg.norm(first - drawn[i]) > 1e-3 and np.linalg.norm(second - drawn[i]) > 1e-3:
            assert angle_at(drawn[i], first, second) == pytest.approx(expected[corner], abs=0.01)


def test_arcs_span_the_angles():
    expected = angles(31, 30, 119)
    arcs = [patch for patch in draw_triangle(expected).axes[0].patches if isinstance(patch, Arc)]
    assert [arc.theta2 - arc.theta1 for arc in arcs] == pytest.approx([expected[corner] for corner in CORNERS])


def test_longest_side_is_one():
    points = corners(angles(31, 30, 119))
    assert np.linalg.norm(points["noise"] - points["image"]) == pytest.approx(1)
    points = corners(angles(130, 10, 40))
    assert np.linalg.norm(points["latent"] - points["image"]) == pytest.approx(1)


def test_corners_and_sides_are_labeled(texts):
    labels = texts(draw_triangle(angles(31, 30.5, 118.5), DISTANCES))
    assert {"noise $x_T$\n31°", "image $x_0$\n30.5°", r"latent $\hat{x}_T$" + "\n118.5°"} <= set(labels)
    assert {"32.3", "33.1", "56.6"} <= set(labels)
    assert any("L2" in text for text in labels)


def test_without_distances_no_distances_are_mentioned(texts):
    assert not any("L2" in text for text in texts(draw_triangle(angles(31, 30, 119))))


@pytest.mark.parametrize("invalid", [angles(31, 30, 118), angles(-10, 95, 95)])
def test_invalid_angles_are_refused(invalid):
    with pytest.raises(ValueError, match="180°"):
        draw_triangle(invalid)
