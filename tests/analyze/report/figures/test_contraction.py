"""Figures of contraction, step errors and forward start: drawn values, means over seeds, and missing values."""

import numpy as np
import pytest

from analyze.report.figures.contraction import draw_contraction, draw_forward_start, draw_step_errors

SPECTRA = ("norm", "radius", "gain_plain", "gain_other")


def contraction(factor: float, gain_plain: float | None = 0.5) -> dict:
    """Return values of three steps of a run with twenty."""
    names = [*SPECTRA, *(f"{name}_std" for name in SPECTRA)]
    steps = {name: [factor * (i + 1), factor, factor] for i, name in enumerate(names)}
    return {"steps": {**steps, "gain_plain": [gain_plain] * 3, "number": [1, 2, 20], "prefactor": [1.0, 0.9, 0.2]}}


def step_error() -> dict:
    names = ("local", "predicted", "accumulated_plain", "accumulated_other", "local_plain", "local_other")
    steps = {name: [0.1 * (i + 1), 0.2, 0.4] for i, name in enumerate(names)}
    return {"steps": {**steps, "distance": [2.0, 3.0, 4.0], "prefactor": [1.0, 0.5, -0.25]}}


def forward_start() -> dict:
    names = ("error", "exact_start", "std_plain", "std_other", "kl")
    values = {name: [float(i), 2.0, 3.0] for i, name in enumerate(names)}
    return {"kl_floor": 0.5, "by_steps": {**values, "std_plain": [None, None, None], "replaced": [0, 1, 4]}}


def line(axes, label: str) -> np.ndarray:
    """Return the points [n, 2] of the line with a label."""
    (found,) = (line for line in axes.lines if line.get_label() == label)
    return np.asarray(found.get_xydata())


def test_contraction_is_a_mean_over_seeds_at_the_numbers_of_the_steps():
    spectra, regions = draw_contraction([contraction(0.1), contraction(0.3)]).axes
    assert line(spectra, "spectral norm") == pytest.approx(np.array([[1, 0.2], [2, 0.2], [20, 0.2]]))
    assert line(spectra, "spectral radius")[0] == pytest.approx([1, 0.4])
    assert line(regions, "gain in other pixels")[0] == pytest.approx([1, 0.8])
    for axes in (spectra, regions):
        assert line(axes, "prefactor $B$")[:, 1] == pytest.approx([1, 0.9, 0.2])


def test_missing_gains_are_not_drawn():
    _, regions = draw_contraction([contraction(0.1, None)]).axes
    assert np.isnan(line(regions, "gain in plain pixels")[:, 1]).all()


def test_step_errors_show_both_predictions(texts):
    figure = draw_step_errors([step_error()])
    single, regions = figure.axes
    assert line(single, "error of a naive step")[:, 1] == pytest.approx([0.1, 0.2, 0.4])
    assert line(single, r"predicted: $\Vert J\,(x_s-x_t)\Vert$")[:, 1] == pytest.approx([0.2, 0.2, 0.4])
    assert line(single, r"prefactor: $|B|\,\Vert x_s-x_t\Vert$")[:, 1] == pytest.approx([2.0, 1.5, 1.0])
    assert line(regions, "accumulated, other pixels")[0] == pytest.approx([1, 0.4])
    assert single.get_yscale() == regions.get_yscale() == "log"
    assert "inverse step (1: at the image $x_0$)" in texts(figure)


def test_forward_start_counts_replaced_steps(texts):
    figure = draw_forward_start([forward_start()])
    errors, spreads, divergence = figure.axes
    assert line(errors, "from the exact state")[:, 1] == pytest.approx([1, 2, 3])
    assert np.isnan(line(spreads, "plain pixels")[:, 1]).all()
    assert line(divergence, "noise $x_T$")[:, 1] == pytest.approx([0.5, 0.5])
    assert [label.get_text() for label in errors.get_xticklabels()] == ["0", "1", "4"]
    assert "replaced steps" in texts(figure) and errors.get_ylabel().startswith(r"mean $\Vert$$x_T$$-$")
