"""Curves and points as inline SVG in the page's colors, with the values and their positions."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from analyze.curves import Curve
from analyze.report.figures.curves import TRAINING_STEP, CurveFigure, Position, draw, to_svg
from analyze.report.figures.style import COLORS, COLUMN, MARKERS, mathtext
from analyze.report.page.blocks import Canvas, Drawing, Plot, PlotCell, PlotKey, PlotRow, Plots

MIN_FIXED = 1e-4  # smaller numbers are written with an exponent
POINTS_PER_INCH = 72  # units of SVG
GLYPHS: dict[Any, str] = dict(zip(MARKERS, "●■▲◆▼✚", strict=True))  # of legends
CSS_VARIABLES = {
    **{color.lower(): f"curve-{i}" for i, color in enumerate(COLORS)},
    "#000000": "ink",
    "#ffffff": "paper",
    "#f2f2f2": "wash",
    "#666666": "soft",
    "#b0b0b0": "soft",
}


@dataclass(frozen=True)
class Point:
    """A point of a line in data coordinates; `texts` are the cells of its row of the table after the line's name."""

    x: float
    y: float
    texts: Sequence[str]


def plots(specs: Iterable[CurveFigure], curves: Mapping[str, Curve]) -> Plots:
    """Return the plots of the figures that have at least one curve."""
    return Plots([plot(spec, curves) for spec in specs if spec.curves.keys() & curves.keys()])


def plot(spec: CurveFigure, curves: Mapping[str, Curve]) -> Plot:
    """Return the plot of the available curves of a figure."""
    available = {label: curves[key] for key, label in spec.curves.items() if key in curves}
    colors = [f"var(--curve-{i})" for i, key in enumerate(spec.curves) if key in curves]
    figure = draw(spec, curves)
    return Plot(
        name=spec.name,
        title=spec.title,
        label=f"{spec.title} against the {spec.position.axis}",
        caption=spec.caption,
        canvas=_canvas(figure, spec.name),
        header=[PlotCell(spec.position.name), *(PlotCell(*cell) for cell in zip(available, repeat(None), colors))],
        rows=_rows(figure, list(available.values()), spec.scale),
        summaries=[summary(label, curve, spec.scale, spec.position) for label, curve in available.items()],
    )


def points_plot(
    figure: Figure, name: str, title: str, caption: str, header: Sequence[str], series: Mapping[str, Sequence[Point]]
) -> Plot:
    """Return the plot of a figure of named lines that have their own x values.

    For each name in `series`, the figure's only axes contain a line with the label mathtext(name). The figure has no
    legend, because the page shows one. The first text of `header` describes the names, the others those of the points.
    """
    keys = _keys(figure, list(series))
    canvas = _canvas(figure, name)
    rows = [_point_row(figure, key, point) for key in keys for point in series[key.label]]
    return Plot(
        name=name,
        title=title,
        label=title,
        caption=caption,
        canvas=canvas,
        header=list(map(PlotCell, header)),
        rows=sorted(rows, key=lambda row: math.inf if row.x is None else row.x),
        keys=keys,
    )


def _keys(figure: Figure, labels: Sequence[str]) -> list[PlotKey]:
    """Return the legend entry of each line, and name the line's group in the SVG after its index."""
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    keys = []
    for i, label in enumerate(labels):
        line = lines[mathtext(label)]
        line.set_gid(f"line-{i}")
        color = CSS_VARIABLES[to_hex(line.get_color())]
        keys.append(PlotKey(label, GLYPHS[line.get_marker()], f"var(--{color})"))
    return keys


def _canvas(figure: Figure, name: str) -> Canvas:
    """Render a figure. Positions in the figure are known only afterwards."""
    svg = inline_svg(figure, name)
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    bottom, top = (height * (1 - edge) for edge in figure.axes[0].get_position().intervaly)
    return Canvas(svg, (width, height), (top, bottom))


def _rows(figure: Figure, curves: Sequence[Curve], scale: float) -> list[PlotRow]:
    """Return one row for each step at which any curve has a value."""
    rows = []
    for step in sorted({step for curve in curves for step in curve.values}):
        cells = [_cell(figure, curve, step, scale) for curve in curves]
        x, _ = _position(figure, step, 1.0)
        rows.append(PlotRow(x, [PlotCell(f"{step:,}"), *cells]))
    return rows


def _cell(figure: Figure, curve: Curve, step: int, scale: float) -> PlotCell:
    """Return the value of a curve at a step; empty if the curve has none there."""
    if step not in curve.values:
        return PlotCell("")
    mean, std = curve.at(step)
    _, y = _position(figure, step, scale * mean)
    return PlotCell(value_text(mean, std, scale), None if math.isnan(y) else y)


def _point_row(figure: Figure, key: PlotKey, point: Point) -> PlotRow:
    """Return the row of a point; its position is None if the axes do not show it."""
    x, y = _position(figure, point.x, point.y)
    axes = figure.axes[0]
    shown = axes.bbox.padded(1).contains(*axes.transData.transform((point.x, point.y)))
    cells = [PlotCell(key.label, y if shown else None, key.color), *map(PlotCell, point.texts)]
    return PlotRow(x if shown else None, cells)


def _position(figure: Figure, x: float, y: float) -> tuple[float, float]:
    """Convert data coordinates to SVG units from the top left."""
    right, up = figure.axes[0].transData.transform((x, y)) * POINTS_PER_INCH / figure.dpi
    return right, figure.get_size_inches()[1] * POINTS_PER_INCH - up


def value_text(mean: float, std: float | None, scale: float = 1.0) -> str:
    """Format 98.93 ± 0.31: four significant digits, ± with the same decimals, omitted for a single seed."""
    mean, std = scale * mean, None if std is None else scale * std
    precision = ".3e" if 0 < abs(mean) < MIN_FIXED else f",.{_decimals(mean)}f"
    spread = "" if std is None else f" ± {std:{precision}}"
    return f"{mean:{precision}}{spread}".replace("-", "−")


def _decimals(number: float, digits: int = 4) -> int:
    """Return the decimals that show the given number of significant digits; 0 for NaN and infinity."""
    if not math.isfinite(number):
        return 0
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])
    return max(0, digits - 1 - exponent)


def summary(label: str, curve: Curve, scale: float, position: Position = TRAINING_STEP) -> str:
    """Describe a curve from its first to its last step in one sentence."""
    steps = (curve.steps[0], curve.steps[-1])
    first, last = (f"{value_text(*curve.at(step), scale)} at {position.text(step)}" for step in steps)
    if len(curve.steps) == 1:
        return f"{label}: {last}."
    return f"{label}: {first}, {last}{_half_change(curve, position)}"


def _half_change(curve: Curve, position: Position) -> str:
    """Return the first step that reaches half of the total change, as the end of a sentence."""
    first, last = curve.mean[0], curve.mean[-1]
    if math.isclose(first, last, rel_tol=1e-3):
        return "."
    changes = ((mean - first) / (last - first) for mean in curve.mean)
    step = next((step for step, change in zip(curve.steps, changes, strict=True) if change >= 0.5), None)
    return "." if step in (None, curve.steps[-1]) else f"; reaches half of its total change by {position.text(step)}."


def drawing(figure: Figure, name: str, alt: str, note: str) -> Drawing:
    """Return a figure as a drawing whose caption is its description and a note on how it is computed."""
    return Drawing(inline_svg(figure, name), alt, f"{alt}. {note}", figure.get_size_inches()[0] > COLUMN)


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure as a scalable <svg> element with the page's colors and ids that start with `name`."""
    text = to_svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 aria-hidden="true"', text, count=1)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    for color, variable in CSS_VARIABLES.items():
        text = text.replace(color, f"var(--{variable})")
    return text
