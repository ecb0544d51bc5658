"""Interpolation map: positions of its values, and markers at the nearest λ."""

import numpy as np

from analyze.report.figures.interpolation import draw_interpolation

TIMES, LAMBDAS = [10, 7, 2, 0], [0.0, 0.5, 1.0]
MEAN = [[0.0, 1.0, 2.0], [3.0, 1.0, 3.0], [4.0, 4.0, 4.0], [9.0, 8.0, 7.0]]


def test_nearest_lambda_of_each_time_is_marked():
    axes = draw_interpolation(TIMES, LAMBDAS, MEAN).axes[0]
    (marks,) = axes.lines
    np.testing.assert_array_equal(marks.get_xydata(), [[10, 0.0], [7, 0.5], [2, 0.0], [0, 1.0]])


def test_values_are_drawn_at_their_times():
    axes = draw_interpolation(TIMES, LAMBDAS, MEAN).axes[0]
    (mesh,) = axes.collections
    np.testing.assert_array_equal(mesh.get_array(), np.transpose(MEAN))
    edges = mesh.get_coordinates()
    for column, time in enumerate(TIMES):
        left, right = edges[0, column, 0], edges[0, column + 1, 0]
        assert min(left, right) < time < max(left, right)


def test_time_axis_runs_from_noise_to_image(texts):
    figure = draw_interpolation(TIMES, LAMBDAS, MEAN)
    left, right = figure.axes[0].get_xlim()
    assert left >= 10 and right <= 0
    labels = " ".join(texts(figure))
    for text in ("DDIM steps", "noise $x_T$", "image $x_0$", r"\lambda", "mean", r"\Vert_2", r"latent $\hat{x}_T$"):
        assert text in labels
