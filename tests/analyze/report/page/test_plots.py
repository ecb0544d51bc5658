"""Plots of the page: texts and positions of curves and points, and the tooltip of points in a browser."""

import math
import re
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analyze.curves import Curve
from analyze.report.figures.curves import DDIM_STEPS, NEIGHBORHOODS
from analyze.report.figures.style import COLORS, MARKERS, mathtext, new_figure, styled
from analyze.report.page.blocks import Page, Plot, Plots, Section, render
from analyze.report.page.plots import Point, plot, points_plot, summary, value_text

HEADER = ["inverter", "evaluations", "error"]
SERIES = {
    "naive": [Point(10, 4.0, ["10", "4"])],
    "fixed point of x̂_T": [Point(20, 0.5, ["20", "0.5"]), Point(100, 0.001, ["100", "0.001"])],
    "Anderson": [Point(20, 0.02, ["20", "0.02"]), Point(40, math.inf, ["40", "inf"]), Point(50, 0.0, ["50", "0"])],
}


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
    assert summary("T", Curve("x", {10: [0.5], 4000: [0.2]}), 1, DDIM_STEPS) == (
        "T: 0.5000 at T = 10, 0.2000 at T = 4,000."
    )


def test_nan_has_a_text_and_no_position():
    name, label = next(iter(NEIGHBORHOODS.curves.items()))
    curve = Curve(name, {0: [0.1], 5: [math.nan], 10: [0.3]})
    drawn = plot(NEIGHBORHOODS, {name: curve})
    assert [[cell.text for cell in row.cells] for row in drawn.rows] == [["0", "10.00"], ["5", "nan"], ["10", "30.00"]]
    assert [row.cells[1].y is None for row in drawn.rows] == [False, True, False]
    assert summary(label, Curve(name, {0: [math.nan], 10: [0.3]}), 1) == f"{label}: nan at step 0, 0.3000 at step 10."


# --- points


@styled
def draw_series() -> Figure:
    figure = new_figure(4.8, 3.4)
    axes = figure.add_subplot(xscale="log", yscale="log")
    axes.axhline(0.1, color="gray")
    for (name, points), color, marker in zip(SERIES.items(), COLORS, MARKERS, strict=False):
        x, y = [point.x for point in points], [point.y for point in points]
        axes.plot(x, y, color=color, marker=marker, label=mathtext(name))
    return figure


@pytest.fixture(scope="module")
def errors() -> Plot:
    return points_plot(draw_series(), "errors", "Error by evaluations", "Both axes are logarithmic.", HEADER, SERIES)


@pytest.fixture(scope="module")
def file(tmp_path_factory, errors) -> Path:
    """A page with the plot."""
    file = tmp_path_factory.mktemp("page") / "page.html"
    page = Page("Inverters", "", ["A finding."], [Section("plot", "Plot", [Plots([errors])])], "")
    file.write_text(render(page), encoding="utf-8")
    return file


def test_points_are_at_the_markers_of_matplotlib(errors):
    for i, name in enumerate(SERIES):
        (group,) = re.findall(rf'<g id="errors-line-{i}">.*?</g>\s*</g>', errors.canvas.svg, re.DOTALL)
        markers = [tuple(map(float, marker)) for marker in re.findall(r'<use [^>]*x="([\d.]+)" y="([\d.]+)"', group)]
        rows = [row for row in errors.rows if row.cells[0].text == name and row.x is not None]
        assert len(rows) == len(markers) > 0
        for row, marker in zip(rows, markers, strict=True):
            assert (row.x, row.cells[0].y) == pytest.approx(marker, abs=1e-3)


def test_points_are_ordered_by_x_and_those_that_are_not_drawn_are_last(errors):
    assert [[cell.text for cell in row.cells[:2]] for row in errors.rows] == [
        ["naive", "10"],
        ["fixed point of x̂_T", "20"],
        ["Anderson", "20"],
        ["fixed point of x̂_T", "100"],
        ["Anderson", "40"],
        ["Anderson", "50"],
    ]
    assert [row.x is None for row in errors.rows] == [row.cells[0].y is None for row in errors.rows]
    assert [row.x is None for row in errors.rows] == [False] * 4 + [True] * 2


def test_points_outside_the_axes_have_no_position():
    figure = draw_series()
    figure.axes[0].set_ylim(0.01, 1.0)
    drawn = points_plot(figure, "errors", "Error", "", HEADER, SERIES)
    assert [row.cells[2].text for row in drawn.rows if row.x is not None] == ["0.5", "0.02"]


def test_keys_have_the_color_and_marker_of_the_line(errors):
    keys = [(key.label, key.marker, key.color) for key in errors.keys]
    assert keys == [
        ("naive", "●", "var(--curve-0)"),
        ("fixed point of x̂_T", "■", "var(--curve-1)"),
        ("Anderson", "▲", "var(--curve-2)"),
    ]


def test_tooltip_shows_the_point_nearest_in_both_directions(visit, file):
    visited = visit(file)
    canvas, tip = visited.page.locator(".canvas"), visited.page.locator(".tip")
    box, scale = canvas.bounding_box(), canvas.bounding_box()["width"] / float(canvas.get_attribute("data-width"))
    for row in visited.page.locator("tbody tr[data-x]").all():
        name, *texts = row.locator("th, td").all_text_contents()
        x, y = float(row.get_attribute("data-x")), float(row.locator("th").get_attribute("data-y"))
        visited.page.mouse.move(box["x"] + scale * x + 3, box["y"] + scale * y - 3)
        assert tip.inner_text().splitlines() == [name, f"evaluations {texts[0]}", f"error {texts[1]}"]
        spot = visited.page.locator(".spot").bounding_box()
        assert spot["x"] + spot["width"] / 2 == pytest.approx(box["x"] + scale * x, abs=1)
        assert spot["y"] + spot["height"] / 2 == pytest.approx(box["y"] + scale * y, abs=1)
    visited.page.mouse.move(0, 0)
    assert not tip.is_visible() and visited.messages == []


def test_arrow_keys_select_the_points_in_the_order_of_x(visit, file):
    canvas = visit(file).page.locator(".canvas")
    canvas.press("Home")
    selected = [canvas.get_attribute("aria-valuetext")]
    for _ in range(4):
        canvas.press("ArrowRight")
        selected.append(canvas.get_attribute("aria-valuetext"))
    assert selected == [
        "naive: evaluations 10, error 4",
        "fixed point of x̂_T: evaluations 20, error 0.5",
        "Anderson: evaluations 20, error 0.02",
        "fixed point of x̂_T: evaluations 100, error 0.001",
        "fixed point of x̂_T: evaluations 100, error 0.001",
    ]


def test_legend_and_points_emphasize_their_line(visit, file):
    page = visit(file).page

    def faded() -> list[bool]:
        return ["faded" in (page.locator(f"#errors-line-{i}").get_attribute("class") or "") for i in range(3)]

    page.locator(".keys li").nth(1).hover()
    assert faded() == [True, False, True]
    page.mouse.move(0, 0)
    assert faded() == [False, False, False]
    page.locator(".canvas").press("Home")
    assert faded() == [False, True, True]
    page.locator(".canvas").press("Escape")
    assert faded() == [False, False, False]


def test_phone_shows_plot_and_legend_without_horizontal_scrolling(visit, file):
    page = visit(file, viewport={"width": 360, "height": 740}, has_touch=True).page
    page.locator("summary").click()
    page.locator(".canvas").tap()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for part in (".tip", ".keys", ".canvas"):
        box = page.locator(part).bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
    assert page.locator(".keys").bounding_box()["y"] > page.locator(".canvas").bounding_box()["y"]


def test_plot_without_drawn_points_is_a_table(visit, tmp_path):
    series = {"diverged": [Point(10, math.nan, ["10", "nan"])]}
    figure = new_figure(4.8, 3.4)
    figure.add_subplot().plot([10], [math.nan], color=COLORS[0], marker=MARKERS[0], label="diverged")
    drawn = points_plot(figure, "errors", "Error", "", HEADER, series)
    file = tmp_path / "page.html"
    file.write_text(render(Page("", "", [], [Section("plot", "Plot", [Plots([drawn])])], "")), encoding="utf-8")
    visited = visit(file)
    assert visited.messages == [] and visited.page.locator(".tip").count() == 0
    assert visited.page.locator("td").all_text_contents() == ["10", "nan"]
