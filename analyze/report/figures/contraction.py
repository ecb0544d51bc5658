"""Contraction of the inverse steps, errors by step, and forward start, from the measures of the same names.

Values are those stored by a measure, one mapping per seed; means over seeds are drawn. Steps are numbered from the
image, on a logarithmic axis, because the first steps differ most.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from analyze.report.figures.style import COLORS, LINES, MARKERS, PAGE, SOFT, new_figure, styled, symbols

MARKED_POINTS = 30
Seeds = Sequence[Mapping[str, Any]]


@styled
def draw_contraction(seeds: Seeds) -> Figure:
    """Draw the "steps" of `contraction`: spectra of J on the left, gains in plain and other pixels on the right.

    Bands are ± one standard deviation over images.
    """
    figure = new_figure(PAGE, 2.7)
    spectra, regions = figure.subplots(1, 2, sharey=True)
    steps = [values["steps"] for values in seeds]
    x = steps[0]["number"]
    for axes, lines in (
        (spectra, {"norm": "spectral norm", "radius": "spectral radius"}),
        (regions, {"gain_plain": "gain in plain pixels", "gain_other": "gain in other pixels"}),
    ):
        for i, (name, label) in enumerate(lines.items()):
            _line(axes, i, x, _mean(steps, name), label, _mean(steps, f"{name}_std"))
        axes.plot(x, _mean(steps, "prefactor"), color="black", linestyle=":", label="prefactor $B$")
        axes.axhline(1, color=SOFT, linewidth=0.6)
        _step_axis(axes, x)
    spectra.set_ylabel("factor of a difference per round")
    spectra.set_ylim(bottom=0)
    return figure


@styled
def draw_step_errors(seeds: Seeds) -> Figure:
    """Draw the "steps" of `step_error`: errors of single steps on the left, errors by region on the right."""
    figure = new_figure(PAGE, 2.9)
    single, regions = figure.subplots(1, 2)
    steps = [values["steps"] for values in seeds]
    x = np.arange(1, len(steps[0]["local"]) + 1)
    bound = np.abs(_mean(steps, "prefactor")) * _mean(steps, "distance")
    _line(single, 0, x, _mean(steps, "local"), "error of a naive step")
    _line(single, 1, x, _mean(steps, "predicted"), r"predicted: $\Vert J\,(x_s-x_t)\Vert$")
    single.plot(x, bound, color="black", linestyle=":", label=r"prefactor: $|B|\,\Vert x_s-x_t\Vert$")
    single.set_ylabel("mean L2 norm")
    for i, region in enumerate(("plain", "other")):
        _line(regions, i, x, _mean(steps, f"accumulated_{region}"), f"accumulated, {region} pixels")
        _line(regions, i + 2, x, _mean(steps, f"local_{region}"), f"single step, {region} pixels")
    regions.set_ylabel("root mean square")
    for axes in (single, regions):
        axes.set_yscale("log")
        _step_axis(axes, x)
    return figure


@styled
def draw_forward_start(seeds: Seeds) -> Figure:
    """Draw "by_steps" of `forward_start` against the number of replaced steps, at equal intervals."""
    figure = new_figure(PAGE, 2.7)
    errors, spreads, divergence = figure.subplots(1, 3)
    values = [seed["by_steps"] for seed in seeds]
    x = np.arange(len(values[0]["replaced"]))
    _line(errors, 0, x, _mean(values, "error"), "from forward noise")
    _line(errors, 1, x, _mean(values, "exact_start"), "from the exact state")
    errors.set_ylabel(symbols(r"mean $\Vert$x_T$-$x̂_T$\Vert$"))
    _line(spreads, 0, x, _mean(values, "std_plain"), "plain pixels")
    _line(spreads, 1, x, _mean(values, "std_other"), "other pixels")
    spreads.axhline(1, color=SOFT, linewidth=0.6)
    spreads.set_ylabel(symbols("std of the values of x̂_T"))
    _line(divergence, 0, x, _mean(values, "kl"), symbols("latent x̂_T"))
    divergence.axhline(_mean(seeds, "kl_floor"), color=SOFT, linestyle=":", label=symbols("noise x_T"))
    divergence.set_ylabel("KL from N(0, 1), nats")
    for axes in (errors, spreads, divergence):
        axes.set_xticks(x, [str(count) for count in values[0]["replaced"]])
        axes.set_xlabel("replaced steps")
        _finish(axes)
    for axes in (errors, divergence):
        axes.set_ylim(bottom=0)
    return figure


def _mean(seeds: Seeds, name: str) -> np.ndarray:
    """Return the mean over seeds; a value that is None for a seed is NaN."""
    return np.mean([np.array(values[name], dtype=float) for values in seeds], axis=0)


def _line(axes: Axes, i: int, x: Any, mean: np.ndarray, label: str, spread: np.ndarray | None = None) -> None:
    """Draw the i-th line of a plot, with markers if there are few points, and a band if its spread is given."""
    marker = MARKERS[i] if len(x) <= MARKED_POINTS else ""
    axes.plot(x, mean, color=COLORS[i], marker=marker, linestyle=LINES[i], label=label, markersize=2.5)
    if spread is not None:
        axes.fill_between(x, mean - spread, mean + spread, color=COLORS[i], alpha=0.15, linewidth=0)


def _step_axis(axes: Axes, x: Sequence[int] | np.ndarray) -> None:
    axes.set_xscale("log")
    axes.set_xticks([step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if step <= x[-1]])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.minorticks_off()
    axes.set_xlabel(symbols("inverse step (1: at the image x_0)"))
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.grid()
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2 if len(axes.lines) > 4 else 1, borderpad=0.2)
