"""Curves as inline SVG that takes on the page's colours, with their values and where these lie."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.figure import Figure

from analyze.curves import Curve
from analyze.report.figures.curves import CurveFigure, draw, to_svg
from analyze.report.figures.style import COLOURS, COLUMN, IMAGE, LATENT, NOISE
from analyze.report.page.blocks import Drawing, Plot, PlotRow, Plots

SMALLEST = 1e-4  # number that is written without an exponent
POINT = 72  # an inch has so many units of SVG
COLOUR_NAMES = {
    **{colour.lower(): f"curve-{place}" for place, colour in enumerate(COLOURS)},
    "#000000": "ink",
    "#ffffff": "paper",
    "#f2f2f2": "wash",
    "#666666": "soft",
    "#b0b0b0": "soft",
}
PLAIN = {IMAGE: "x_0", LATENT: "x̂_T", NOISE: "x_T"}


def plots(specs: Iterable[CurveFigure], curves: Mapping[str, Curve]) -> Plots:
    """The plots of which any curve is there."""
    return Plots([plot(spec, curves) for spec in specs if spec.curves.keys() & curves.keys()])


def plot(spec: CurveFigure, curves: Mapping[str, Curve]) -> Plot:
    """The plot of those of its curves that are there."""
    there = {plain(label): curves[name] for name, label in spec.curves.items() if name in curves}
    figure = draw(spec, curves)
    svg = inline_svg(figure, spec.name)  # places are known only after it is drawn
    (axes,) = figure.axes
    width, height = figure.get_size_inches() * POINT
    bottom, top = (height * (1 - edge) for edge in axes.get_position().intervaly)
    return Plot(
        name=spec.name,
        title=plain(spec.title),
        caption=plain(spec.caption),
        seen=[seen(label, curve, spec.scale) for label, curve in there.items()],
        svg=svg,
        size=(width, height),
        box=(top, bottom),
        labels=list(there),
        colours=[f"var(--curve-{place})" for place, name in enumerate(spec.curves) if name in curves],
        rows=_rows(figure, list(there.values()), spec.scale),
    )


def _rows(figure: Figure, curves: Sequence[Curve], scale: float) -> list[PlotRow]:
    """A row a step that any curve has a value at."""
    to_page = figure.axes[0].transData.transform
    height = figure.get_size_inches()[1] * POINT
    rows = []
    for step in sorted({step for curve in curves for step in curve.values}):
        places = [
            to_page((step, scale * curve.at(step)[0])) * POINT / figure.dpi if step in curve.values else None
            for curve in curves
        ]
        x = next(place[0] for place in places if place is not None)
        y = [None if place is None or math.isnan(place[1]) else height - place[1] for place in places]
        texts = [value_text(*curve.at(step), scale) if step in curve.values else "" for curve in curves]
        rows.append(PlotRow(step, x, y, texts))
    return rows


def value_text(mean: float, std: float | None, scale: float = 1.0) -> str:
    """98.93 ± 0.31: four significant digits, the ± with as many decimals; without ± for a single seed."""
    mean, std = scale * mean, None if std is None else scale * std
    places = ".3e" if 0 < abs(mean) < SMALLEST else f",.{_decimals(mean)}f"
    spread = "" if std is None else f" ± {std:{places}}"
    return f"{mean:{places}}{spread}".replace("-", "−")


def _decimals(number: float, digits: int = 4) -> int:
    """As many as show so many significant digits; 0 for what is no number."""
    if not math.isfinite(number):
        return 0
    exponent = int(f"{number:.{digits - 1}e}".partition("e")[2])
    return max(0, digits - 1 - exponent)


def seen(label: str, curve: Curve, scale: float) -> str:
    """What a curve does from its first to its last step, in a sentence."""
    first, last = (value_text(*curve.at(step), scale) for step in (curve.steps[0], curve.steps[-1]))
    if len(curve.steps) == 1:
        return f"{label}: {last} at step {curve.steps[-1]:,}."
    return f"{label}: {first} at step {curve.steps[0]:,}, {last} at step {curve.steps[-1]:,}{_half_way(curve)}"


def _half_way(curve: Curve) -> str:
    """The first step at which half of the way from the first to the last value is gone, and the full stop."""
    first, last = curve.mean[0], curve.mean[-1]
    if math.isclose(first, last, rel_tol=1e-3):
        return "."
    shares = ((mean - first) / (last - first) for mean in curve.mean)
    step = next((step for step, share in zip(curve.steps, shares, strict=True) if share >= 0.5), None)
    return "." if step is None else f"; half of the way by step {step:,}."


def drawing(figure: Figure, name: str, seen: str, made: str) -> Drawing:
    """A figure with what is seen on it and how it was made."""
    return Drawing(inline_svg(figure, name), seen, f"{seen}. {made}", figure.get_size_inches()[0] > COLUMN)


def inline_svg(figure: Figure, name: str) -> str:
    """A figure as an <svg> element: its colours are the page's, its ids its own, and it is as wide as there is room."""
    text = to_svg(figure)
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r'\1 aria-hidden="true"', text, count=1)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    for colour, variable in COLOUR_NAMES.items():
        text = text.replace(colour, f"var(--{variable})")
    return text


def plain(text: str) -> str:
    """A label without the marks of mathematics: x_0, x_T, x̂_T."""
    for mathematical, letters in PLAIN.items():
        text = text.replace(mathematical, letters)
    return text
