"""Figures of curves: mean and deviation, labels, and axes."""

import dataclasses

import numpy as np
import pytest

from analyze.curves import Curve
from analyze.report.figures.curves import (
    ALIGNMENT,
    ANALYSIS_FIGURES,
    DDIM_STEPS,
    EARLY_INVERTER_FIGURES,
    NOISE_MAPPING,
    draw,
    draw_panels,
    other_figures,
    to_svg,
)
from analyze.report.figures.style import COLORS

VALUES = {0: [0.25, 0.75], 10: [0.5, 0.5], 1000: [0.75, 1.0]}


@pytest.fixture
def curves():
    specs = (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES)
    return {name: Curve(name, VALUES) for spec in specs for name in spec.curves}


def test_line_is_the_mean_and_band_the_deviation(curves):
    axes = draw(NOISE_MAPPING, curves).axes[0]
    line, band = axes.lines[0], axes.collections[0].get_paths()[0].vertices
    np.testing.assert_allclose(line.get_xydata(), [[0, 50], [10, 50], [1000, 87.5]])
    std = 100 * np.std(VALUES[0], ddof=1)
    assert sorted({round(y, 6) for x, y in band if x == 0}) == pytest.approx([50 - std, 50 + std])


def test_curves_differ_in_color_marker_and_line(curves):
    lines = draw(ALIGNMENT, curves).axes[0].lines
    assert len(lines) == 4
    for look in ("get_color", "get_marker", "get_linestyle"):
        assert len({getattr(line, look)() for line in lines}) == 4


def test_missing_curves_are_omitted(curves, texts):
    del curves["dino/mean"]
    labels = texts(draw(ALIGNMENT, curves))
    assert {"CKA", "SVCCA", "SSIM"} < set(labels) and "DINO" not in labels


@pytest.mark.parametrize(("linear", "scale"), [(False, "symlog"), (True, "linear")])
def test_step_axis_is_logarithmic_or_linear(curves, texts, linear, scale):
    figure = draw(dataclasses.replace(ALIGNMENT, linear_steps=linear), curves)
    assert figure.axes[0].get_xscale() == scale
    assert {"training step", "similarity", "0", "1,000"} <= set(texts(figure))


def test_logarithmic_axis_has_ticks_at_step_zero_and_the_last_step(curves):
    axes = draw(ALIGNMENT, curves).axes[0]
    assert list(axes.get_xticks()) == [0, 10, 100, 1000]
    low, high = axes.get_xlim()
    assert low < 0 and high > 1000


def test_short_axis_has_ticks_at_checkpoints():
    curve = Curve("cka/biased", {step: [0.5] for step in (0, 10, 25, 30, 50, 55, 60)})
    (axes,) = draw(ALIGNMENT, {curve.name: curve}).axes
    assert list(axes.get_xticks()) == [0, 10, 25, 60]


def test_an_axis_of_ddim_steps_is_logarithmic_and_ends_at_the_first_and_last_t(texts):
    curve = Curve("cka/biased", {T: [0.5] for T in (10, 50, 100, 4000)})
    figure = draw(dataclasses.replace(ALIGNMENT, position=DDIM_STEPS), {curve.name: curve})
    (axes,) = figure.axes
    assert axes.get_xscale() == "log" and list(axes.get_xticks()) == [10, 100, 1000, 4000]
    assert axes.get_xlim()[0] > 5 and "number T of DDIM steps" in texts(figure)


def test_percentages_end_at_100_and_ticks_have_no_offset(texts):
    curves = {name: Curve(name, {0: [1.0], 10: [1.0]}) for name in NOISE_MAPPING.curves}
    assert draw(NOISE_MAPPING, curves).axes[0].get_ylim()[1] <= 101
    close = Curve("cka/biased", {0: [0.99999], 10: [0.999991]})
    assert not [text for text in texts(draw(ALIGNMENT, {close.name: close})) if "e−" in text or "+" in text]


def test_unknown_measure_gets_a_figure(curves):
    """With at most as many curves as colors; a measure of a single step gets none."""
    others = {f"brightness/{i}": Curve(f"brightness/{i}", VALUES) for i in range(9)}
    once = {"last/value": Curve("last/value", {1000: [0.5]})}
    (figure,) = other_figures(curves | others | once)
    assert figure.name == "brightness_1" and list(figure.curves) == list(others)[: len(COLORS)]
    assert list(figure.curves.values()) == ["0", "1", "2", "3", "4", "5"] and figure.y_label == "value"
    assert len(draw(figure, others).axes[0].lines) == len(COLORS)


def test_each_quantity_of_a_measure_has_its_axis():
    """Inverters have their own section."""
    keys = ["forward_start/error", "forward_start/kl", "forward_start/exact_start", "inverters/naive-diffusers"]
    figures = other_figures({key: Curve(key, VALUES) for key in keys})
    assert [list(figure.curves) for figure in figures] == [[keys[0], keys[2]], [keys[1]]]
    assert [figure.y_label for figure in figures] == ["L2 distance", "KL divergence"] and figures[0].name != figures[
        1
    ].name


def test_cataloged_measure_without_a_figure_has_its_label(curves):
    (figure,) = other_figures(curves | {"fid/value": Curve("fid/value", VALUES)})
    assert figure.curves == {"fid/value": "FID"} and figure.y_label == "Fréchet distance"


@pytest.mark.parametrize("values", [{0: [0.5]}, {7: [0.5]}, {step: [0.5] for step in range(0, 700_000, 5_000)}])
def test_one_point_and_many_points_can_be_drawn(values):
    curve = Curve("cka/biased", values)
    assert to_svg(draw(ALIGNMENT, {curve.name: curve})).startswith("<?xml")


def test_early_inverter_has_two_panels_with_units(curves, texts):
    labels = texts(draw_panels(EARLY_INVERTER_FIGURES, curves))
    assert {"(a) Angles, last images", "angle (°)", "(b) Distances, last images", "L2 distance"} <= set(labels)
    assert {"angle at image $x_0$", r"noise–latent distance"} <= set(labels)
    assert all(name.startswith("early_inverter/") for spec in EARLY_INVERTER_FIGURES for name in spec.curves)


def test_svg_is_reproducible(curves):
    assert to_svg(draw(ALIGNMENT, curves)) == to_svg(draw(ALIGNMENT, curves))
