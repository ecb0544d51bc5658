"""The triangle that is drawn has the angles that are given."""

import math

import numpy as np
import pytest
from matplotlib.patches import Arc, Polygon

from analyze.report.figures.triangle import CORNERS, corners, draw_triangle

DISTANCES = {"noise_latent": 32.29, "image_latent": 33.15, "image_noise": 56.65}


def angles(noise: float, image: float, latent: float) -> dict[str, float]:
    return {"noise": noise, "image": image, "latent": latent}


def angle_at(corner: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - corner, other - corner
    return math.degrees(math.acos(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), -1, 1)))


@pytest.mark.parametrize(
    "given",
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
def test_drawn_angles_are_the_given_ones(given):
    figure = draw_triangle(given, DISTANCES)
    (axes,) = figure.axes
    (shape,) = [patch for patch in axes.patches if isinstance(patch, Polygon)]
    figure.draw_without_rendering()
    drawn = axes.transData.transform(shape.get_xy()[:3])  # pixels: an axis that is stretched would show
    for i, corner in enumerate(CORNERS):
        one, other = drawn[i - 2], drawn[i - 1]
        if np.linalg.norm(one - drawn[i]) > 1e-3 and np.linalg.norm(other - drawn[i]) > 1e-3:
            assert angle_at(drawn[i], one, other) == pytest.approx(given[corner], abs=0.01)


def test_arcs_span_the_angles():
    given = angles(31, 30, 119)
    arcs = [patch for patch in draw_triangle(given).axes[0].patches if isinstance(patch, Arc)]
    assert [arc.theta2 - arc.theta1 for arc in arcs] == pytest.approx([given[corner] for corner in CORNERS])


def test_the_longest_side_is_one():
    places = corners(angles(31, 30, 119))
    assert np.linalg.norm(places["noise"] - places["image"]) == pytest.approx(1)
    places = corners(angles(130, 10, 40))
    assert np.linalg.norm(places["latent"] - places["image"]) == pytest.approx(1)


def test_corners_and_sides_say_what_they_are(texts):
    written = texts(draw_triangle(angles(31, 30.5, 118.5), DISTANCES))
    assert {"noise $x_T$\n31°", "image $x_0$\n30.5°", r"latent $\hat{x}_T$" + "\n118.5°"} <= set(written)
    assert {"32.3", "33.1", "56.6"} <= set(written)
    assert any("L2" in text for text in written)


def test_without_distances_nothing_is_said_of_them(texts):
    assert not any("L2" in text for text in texts(draw_triangle(angles(31, 30, 119))))


@pytest.mark.parametrize("given", [angles(31, 30, 118), angles(-10, 95, 95)])
def test_what_is_no_triangle_is_refused(given):
    with pytest.raises(ValueError, match="180°"):
        draw_triangle(given)
