"""Curves against the training step or T: mean over seeds as a line, ± one standard deviation as a band."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from analyze.curves import Curve
from analyze.report.figures.style import COLORS, COLUMN, LINES, MARKERS, PAGE, mathtext, new_figure, step_label, styled
from analyze.report.metrics import CORNERS, SIDES, TENSORS, find_metric

HEIGHT = 2.6  # inches
LONG_LABEL, LONG_LEGEND = 34, 24  # characters: at most one column of longer labels, two of longer legends
MAX_MARKERS = 30  # points with one marker each
MIN_TICK_RATIO = 1.5  # of two steps whose labels do not overlap
PERCENT, MAX_PERCENT = 100, 100.5  # scale of a fraction, and the upper limit of its axis


@dataclass(frozen=True)
class Position:
    """The quantity on the x axis of curves."""

    axis: str
    name: str
    prefix: str

    def text(self, value: int) -> str:
        """Return a value as "step 1,000" or "T = 1,000"."""
        return f"{self.prefix}{value:,}"


TRAINING_STEP = Position("training step", "step", "step ")
DDIM_STEPS = Position("number T of DDIM steps", "T", "T = ")


@dataclass(frozen=True)
class CurveFigure:
    """Curves that are drawn together, and their caption."""

    name: str
    title: str
    curves: Mapping[str, str]  # curve name → label
    caption: str
    y_label: str
    scale: float = 1.0  # factor of the values, for example 100 for percent
    log_y: bool = False
    linear_steps: bool = False  # the step axis is logarithmic by default
    position: Position = TRAINING_STEP


def _figure(name: str, title: str, caption: str, *keys: str, log_y: bool = False) -> CurveFigure:
    """Return a figure of metrics that share a unit."""
    quantity, labels = find_metric(keys[0]).quantity, {key: find_metric(key).label for key in keys}
    return CurveFigure(name, title, labels, caption, quantity.axis, quantity.scale, log_y)


NOISE_MAPPING = _figure(
    "noise_mapping",
    "Noise mapping",
    "Percentage of images whose nearest noise (L2 distance) is the noise they were generated from, and vice versa. "
    "One to one: percentage of images that the optimal assignment matches with this noise.",
    "noise_mapping/image_to_noise",
    "noise_mapping/noise_to_image",
    "hungarian/accuracy",
)
TRANSPORT = _figure(
    "transport_gap",
    "Transport gap",
    "Excess of the total squared L2 distance of noises and their images over that of the optimal one-to-one "
    "assignment, relative to the latter. It is 0 for an optimal transport map; random pairs show the value without "
    "any relation.",
    "transport_gap/gap",
    "transport_gap/random",
)
NEIGHBORHOODS = _figure(
    "knn_coverage",
    "Neighborhoods",
    "Percentage of the k nearest images that are also among the k nearest at the last checkpoint.",
    "knn_coverage/image",
    "knn_coverage/noise",
)
ALIGNMENT = _figure(
    "alignment",
    "Alignment with the final images",
    "Similarity between the images of a checkpoint and those of the last checkpoint from the same noise: linear CKA, "
    "SVCCA, SSIM (uniform 7×7 window) and, if available, the cosine similarity of DINO features.",
    "cka/biased",
    "svcca/mean",
    "ssim/mean",
    "dino/mean",
)
ANGLES = _figure(
    "angles",
    "Angles",
    "Angles of the triangle of noise x_T, image x_0 and inverted latent x̂_T: arccosine of the mean cosine.",
    *(f"triangle/{corner}_of_mean" for corner in CORNERS),
)
DISTANCES = _figure(
    "distances",
    "Distances",
    "Mean L2 distances over all pixels between noise x_T, image x_0 and inverted latent x̂_T.",
    *(f"distances/{side}" for side in SIDES),
)
CORRELATION = _figure(
    "correlation",
    "Correlation of pixels",
    "Mean of the ten largest absolute correlations of two pixels over the images. The noise floor is the value for "
    "fresh Gaussian noise, which is due to chance alone.",
    *(f"correlation/{tensor}" for tensor in TENSORS),
)
PLAIN_ERROR = _figure(
    "plain_error",
    "Error in plain areas",
    "Mean absolute difference of noise and latent in plain pixels of the image, which barely differ from their right "
    "and lower neighbors, and in all other pixels.",
    "plain_areas/error_plain",
    "plain_areas/error_other",
)
PLAIN_DEVIATION = _figure(
    "plain_std",
    "Spread in plain areas",
    "Standard deviation of the values of latents and noises in plain pixels of the image and in all other pixels. An "
    "exact latent has the same as its noise.",
    *(f"plain_areas/{prefix}std_{part}" for prefix in ("", "noise_") for part in ("plain", "other")),
)
NORMALITY = _figure(
    "normality",
    "Divergence from N(0, 1)",
    "Kullback–Leibler divergence of the values of all latents from the normal distribution. That of the noise is due "
    "to the finite number of values alone.",
    "plain_areas/kl",
    "plain_areas/kl_floor",
    log_y=True,
)
PLAIN_FIGURES = (PLAIN_ERROR, PLAIN_DEVIATION)
ANALYSIS_FIGURES = (
    NOISE_MAPPING,
    TRANSPORT,
    NEIGHBORHOODS,
    ALIGNMENT,
    ANGLES,
    DISTANCES,
    CORRELATION,
    *PLAIN_FIGURES,
    NORMALITY,
)


def _early_inverter(figure: CurveFigure) -> CurveFigure:
    """Return the same figure for the last checkpoint's images, inverted by the checkpoint of each step."""
    keys = (f"early_inverter/{key.partition('/')[2]}" for key in figure.curves)
    caption = f"The last checkpoint's images, inverted by the checkpoint of each step. {figure.caption}"
    return _figure(f"early_inverter_{figure.name}", f"{figure.title}, last images", caption, *keys)


EARLY_INVERTER_FIGURES = (_early_inverter(ANGLES), _early_inverter(DISTANCES))
TRAINING_FIGURE = _figure(
    "loss",
    "Training loss",
    "Mean since the previous point. The loss includes the variational bound if the model learns its variance.",
    "loss",
    "mse",
    log_y=True,
)


def other_figures(curves: Mapping[str, Curve]) -> list[CurveFigure]:
    """Return a figure for each quantity of each measure that no other figure shows, with its first values.

    Curves of a single step are omitted. Inverters have their own section.
    """
    shown = {key.partition("/")[0] for figure in (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES) for key in figure.curves}
    others: dict[tuple[str, str], list[str]] = {}
    for key, curve in curves.items():
        measure = key.partition("/")[0]
        if measure not in {*shown, "inverters"} and len(curve.steps) > 1:
            keys = others.setdefault((measure, find_metric(key).quantity.name), [])
            keys += [key] if len(keys) < len(COLORS) else []
    return [
        _figure(f"{measure}_{number}", measure.replace("_", " "), f"Values of the measure {measure}.", *keys)
        for number, ((measure, _), keys) in enumerate(others.items(), start=1)
    ]


@styled
def draw(spec: CurveFigure, curves: Mapping[str, Curve]) -> Figure:
    """Draw the available curves of a figure."""
    figure = new_figure(COLUMN, HEIGHT)
    _draw_panel(figure, spec, curves)
    return figure


@styled
def draw_panels(specs: Sequence[CurveFigure], curves: Mapping[str, Curve]) -> Figure:
    """Draw figures as lettered panels side by side."""
    figure = new_figure(PAGE, HEIGHT)
    panels = figure.subfigures(1, len(specs), squeeze=False)[0]
    for letter, panel, spec in zip("abcdef", panels, specs, strict=False):
        _draw_panel(panel, dataclasses.replace(spec, title=f"({letter}) {spec.title}"), curves)
    return figure


def _draw_panel(panel: Figure | SubFigure, spec: CurveFigure, curves: Mapping[str, Curve]) -> None:
    axes = panel.add_subplot()
    for (key, label), look in zip(spec.curves.items(), zip(COLORS, MARKERS, LINES, strict=True), strict=False):
        if key in curves:
            _draw_curve(axes, curves[key], spec.scale, mathtext(label), look)
    if spec.linear_steps:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    else:
        steps = [step for key in spec.curves if key in curves for step in curves[key].steps]
        _set_logarithmic_steps(axes, steps, from_zero=spec.position is TRAINING_STEP)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: step_label(step)))
    axes.set(title=spec.title, ylabel=spec.y_label, xlabel=spec.position.axis)
    if spec.log_y:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    if spec.scale == PERCENT:
        axes.set_ylim(top=min(axes.get_ylim()[1], MAX_PERCENT))
    axes.grid()
    labels = axes.get_legend_handles_labels()[1]
    columns = 1 if max(map(len, labels)) > LONG_LABEL else 2 if sum(map(len, labels)) > LONG_LEGEND else len(labels)
    panel.legend(loc="outside lower center", ncols=columns)


def _draw_curve(axes: Axes, curve: Curve, scale: float, label: str, look: tuple[str, str, Any]) -> None:
    color, marker, line = look
    mean = [scale * value for value in curve.mean]
    low = [value - scale * std for value, std in zip(mean, curve.std, strict=True)]
    high = [value + scale * std for value, std in zip(mean, curve.std, strict=True)]
    every = None if len(mean) <= MAX_MARKERS else 0.1  # of the diagonal of the axes
    axes.plot(curve.steps, mean, color=color, marker=marker, linestyle=line, markevery=every, label=label)
    axes.fill_between(curve.steps, low, high, color=color, alpha=0.2, linewidth=0)


def _set_logarithmic_steps(axes: Axes, steps: list[int], from_zero: bool) -> None:
    """Set a logarithmic axis; if it starts from step 0, it is linear up to the first step after it."""
    after_zero = [step for step in steps if step > 0]
    first, last = min(after_zero, default=1), max(after_zero, default=1)
    if from_zero:
        axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    else:
        axes.set_xscale("log")
    decades = [10**power for power in range(8) if first <= 10**power <= last / 2]
    ticks = decades if len(decades) > 1 else _without_overlap([*decades, *after_zero], last)
    axes.set_xticks([*([0] if from_zero else []), *ticks, last])
    axes.xaxis.set_minor_locator(NullLocator())


def _without_overlap(steps: list[int], last: int) -> list[int]:
    """Return the steps whose labels overlap neither each other nor that of the last step."""
    ticks: list[int] = []
    for step in sorted(set(steps)):
        if step * MIN_TICK_RATIO <= last and (not ticks or step >= ticks[-1] * MIN_TICK_RATIO):
            ticks.append(step)
    return ticks


@styled
def to_svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
