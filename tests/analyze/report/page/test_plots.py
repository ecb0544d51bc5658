"""The text that the page shows for curves."""

import math

import pytest

from analyze.curves import Curve
from analyze.report.figures.curves import NEIGHBORHOODS
from analyze.report.page.plots import plot, summary, value_text


@pytest.mark.parametrize(
    ("mean", "std", "text"),
    [
        (98.926, 0.3149, "98.93 ± 0.31"),
        (0.99999, 0.0, "1.000 ± 0.000"),
        (-0.25, None, "−0.2500"),
        (0.0, 0.0, "0.000 ± 0.000"),
        (5533.2, 12.3, "5,533 ± 12"),
        (1.5e-7, None, "1.500e−07"),
        (math.nan, math.nan, "nan ± nan"),
    ],
)
def test_values_have_four_significant_digits(mean, std, text):
    assert value_text(mean, std) == text


def test_summary_has_ends_and_half_of_the_change():
    risen = Curve("x", {0: [0.1], 5: [0.2], 10: [0.65], 20: [0.9]})
    assert summary("rise", risen, 100) == (
        "rise: 10.00 at step 0, 90.00 at step 20; reaches half of its total change by step 10."
    )
    flat = Curve("x", {0: [0.5], 10: [0.2], 20: [0.5]})
    assert summary("same", flat, 1) == "same: 0.5000 at step 0, 0.5000 at step 20."
    assert summary("once", Curve("x", {7: [0.5]}), 1) == "once: 0.5000 at step 7."


def test_nan_has_a_text_and_no_position():
    name, label = next(iter(NEIGHBORHOODS.curves.items()))
    curve = Curve(name, {0: [0.1], 5: [math.nan], 10: [0.3]})
    drawn = plot(NEIGHBORHOODS, {name: curve})
    assert [row.texts for row in drawn.rows] == [["10.00"], ["nan"], ["30.00"]]
    assert [row.y[0] is None for row in drawn.rows] == [False, True, False]
    assert summary(label, Curve(name, {0: [math.nan], 10: [0.3]}), 1) == f"{label}: nan at step 0, 0.3000 at step 10."
