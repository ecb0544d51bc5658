"""Curves show mean and deviation, say what they are, and can be told apart without colour."""

import dataclasses

import numpy as np
import pytest

from analyze.curves import Curve
from analyze.report.figures.curves import (
    ALIGNMENT,
    ANALYSIS_FIGURES,
    EARLY_INVERTER_FIGURES,
    NOISE_MAPPING,
    draw,
    draw_panels,
    figures_of_others,
    to_svg,
)
from analyze.report.figures.style import COLOURS

VALUES = {0: [0.25, 0.75], 10: [0.5, 0.5], 1000: [0.75, 1.0]}


@pytest.fixture
def curves():
    specs = (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES)
    return {name: Curve(name, VALUES) for spec in specs for name in spec.curves}


def test_mean_is_the_line_and_the_deviation_the_band(curves):
    axes = draw(NOISE_MAPPING, curves).axes[0]
    line, band = axes.lines[0], axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_xydata(), [[0, 50], [10, 50], [1000, 87.5]])
    spread = 100 * np.std(VALUES[0], ddof=1)
    assert sorted({round(y, 6) for x, y in band if x == 0}) == pytest.approx([50 - spread, 50 + spread])


def test_curves_differ_by_colour_marker_and_line(curves):
    lines = draw(ALIGNMENT, curves).axes[0].lines
    assert len(lines) == 4
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert len({getattr(line, look)() for line in lines}) == 4


def test_only_what_is_there_is_drawn(curves, texts):
    del curves["dino/mean"]
    written = texts(draw(ALIGNMENT, curves))
    assert {"CKA", "SVCCA", "SSIM"} < set(written) and "DINO" not in written


@pytest.mark.parametrize(("linear", "scale"), [(False, "symlog"), (True, "linear")])
def test_the_step_axis_is_logarithmic_or_linear(curves, texts, linear, scale):
    figure = draw(dataclasses.replace(ALIGNMENT, linear_steps=linear), curves)
    assert figure.axes[0].get_xscale() == scale
    written = texts(figure)
    assert {"training step", "similarity", "0", "1,000"} <= set(written)


def test_step_zero_and_the_last_step_have_places_on_a_logarithmic_axis(curves):
    axes = draw(ALIGNMENT, curves).axes[0]
    assert list(axes.get_xticks()) == [0, 10, 100, 1000]
    low, high = axes.get_xlim()
    assert low < 0 and high > 1000


def test_a_short_axis_has_places_for_its_checkpoints(texts):
    curve = Curve("cka/biased", {step: [0.5] for step in (0, 10, 25, 30, 50, 55, 60)})
    (axes,) = draw(ALIGNMENT, {curve.name: curve}).axes
    assert list(axes.get_xticks()) == [0, 10, 25, 60]


def test_shares_end_at_a_hundred_per_cent_and_close_values_are_written_out(texts):
    curves = {name: Curve(name, {0: [1.0], 10: [1.0]}) for name in NOISE_MAPPING.curves}
    assert draw(NOISE_MAPPING, curves).axes[0].get_ylim()[1] <= 101
    close = Curve("cka/biased", {0: [0.99999], 10: [0.999991]})
    assert not [text for text in texts(draw(ALIGNMENT, {close.name: close})) if "e−" in text or "+" in text]


def test_a_measure_that_no_figure_shows_has_one_of_its_own(curves):
    """With numbers of more than one checkpoint; as many as there are colours."""
    others = {f"brightness/{i}": Curve(f"brightness/{i}", VALUES) for i in range(9)}
    once = {"last/value": Curve("last/value", {1000: [0.5]})}
    (made,) = figures_of_others(curves | others | once)
    assert made.name == "brightness" and list(made.curves) == list(others)[: len(COLOURS)]
    assert len(draw(made, others).axes[0].lines) == len(COLOURS)


@pytest.mark.parametrize("values", [{0: [0.5]}, {7: [0.5]}, {step: [0.5] for step in range(0, 700_000, 5_000)}])
def test_one_point_and_many_are_drawn_too(values):
    curve = Curve("cka/biased", values)
    assert to_svg(draw(ALIGNMENT, {curve.name: curve})).startswith("<?xml")


def test_early_inverter_has_two_panels_with_their_units(curves, texts):
    written = texts(draw_panels(EARLY_INVERTER_FIGURES, curves))
    assert {
        "(a) Angles of the triangle, last images",
        "angle, degrees",
        "(b) Distances, last images",
        "L2 distance",
    } <= set(written)
    assert all(name.startswith("early_inverter/") for spec in EARLY_INVERTER_FIGURES for name in spec.curves)


def test_the_same_curves_are_the_same_svg(curves):
    assert to_svg(draw(ALIGNMENT, curves)) == to_svg(draw(ALIGNMENT, curves))
