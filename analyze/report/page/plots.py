"""Curves as inline SVG in the page's colors, with the values and their positions."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from analyze.curves import Curve
from analyze.report.figures.curves import CurveFigure, draw, to_svg
from analyze.report.figures.style import COLORS, COLUMN
from analyze.report.page.blocks import Drawing, Plot, PlotRow, Plots

MIN_FIXED = 1e-4  # smaller numbers are written with an exponent
POINTS_PER_INCH = 72  # units of SVG
CSS_VARIABLES = {
    **{color.lower(): f"curve-{i}" for i, color in enumerate(COLORS)},
    "#000000": "ink",
    "#ffffff": "paper",
    "#f2f2f2": "wash",
    "#666666": "soft",
    "#b0b0b0": "soft",
}


def plots(specs: Iterable[CurveFigure], curves: Mapping[str, Curve]) -> Plots:
    """Return the plots of the figures that have at least one curve."""
    return Plots([plot(spec, curves) for spec in specs if spec.curves.keys() & curves.keys()])


def plot(spec: CurveFigure, curves: Mapping[str, Curve]) -> Plot:
    """Return the plot of the available curves of a figure."""
    available = {label: curves[key] for key, label in spec.curves.items() if key in curves}
    figure = draw(spec, curves)
    svg = inline_svg(figure, spec.name)  # positions are known only after rendering
    (axes,) = figure.axes
    width, height = figure.get_size_inches() * POINTS_PER_INCH
    bottom, top = (height * (1 - edge) for edge in axes.get_position().intervaly)
    return Plot(
        name=spec.name,
        title=spec.title,
        caption=spec.caption,
        summaries=[summary(label, curve, spec.scale) for label, curve in available.items()],
        svg=svg,
        size=(width, height),
        box=(top, bottom),
        labels=list(available),
        colors=[f"var(--curve-{i})" for i, key in enumerate(spec.curves) if key in curves],
        rows=_rows(figure, list(available.values()), spec.scale),
    )


def _rows(figure: Figure, curves: Sequence[Curve], scale: float) -> list[PlotRow]:
    """Return one row for each step at which any curve has a value."""
    to_pixels = figure.axes[0].transData.transform
    height = figure.get_size_inches()[1] * POINTS_PER_INCH
    rows = []
    for step in sorted({step for curve in curves for step in curve.values}):
        points = [
            to_pixels((step, scale * curve.at(step)[0])) * POINTS_PER_INCH / figure.dpi
            if step in curve.values
            else None
            for curve in curves
        ]
        x = next(point[0] for point in points if point is not None)
        y = [None if point is None or math.isnan(point[1]) else height - point[1] for point in points]
        texts = [value_text(*curve.at(step), scale) if step in curve.values else "" for curve in curves]
        rows.append(PlotRow(step, x, y, texts))
    return rows


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


def summary(label: str, curve: Curve, scale: float) -> str:
    """Describe a curve from its first to its last step in one sentence."""
    first, last = (value_text(*curve.at(step), scale) for step in (curve.steps[0], curve.steps[-1]))
    if len(curve.steps) == 1:
        return f"{label}: {last} at step {curve.steps[-1]:,}."
    return f"{label}: {first} at step {curve.steps[0]:,}, {last} at step {curve.steps[-1]:,}{_half_change(curve)}"


def _half_change(curve: Curve) -> str:
    """Return the first step that reaches half of the total change, as the end of a sentence."""
    first, last = curve.mean[0], curve.mean[-1]
    if math.isclose(first, last, rel_tol=1e-3):
        return "."
    changes = ((mean - first) / (last - first) for mean in curve.mean)
    step = next((step for step, change in zip(curve.steps, changes, strict=True) if change >= 0.5), None)
    return "." if step in (None, curve.steps[-1]) else f"; reaches half of its total change by step {step:,}."


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
