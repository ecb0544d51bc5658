"""Curves against the training step: mean over seeds as a line, ± one standard deviation as a band."""

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from analyze.curves import Curve
from analyze.report.figures.style import (
    COLOURS,
    COLUMN,
    IMAGE,
    LATENT,
    LINES,
    MARKERS,
    NOISE,
    PAGE,
    new_figure,
    step_label,
    styled,
)

HEIGHT = 2.6  # inches
LONG = 34  # letters of a label, the marks of mathematics among them, that no other has room beside
FEW = 30  # points that have a marker each
APART = 1.5  # ratio of two steps whose labels do not touch
PER_CENT, MOST_PER_CENT = 100, 100.5  # a share, and where an axis of shares ends


@dataclass(frozen=True)
class CurveFigure:
    """Which curves are drawn together, and what is said below them."""

    name: str
    title: str
    y_label: str
    curves: dict[str, str]  # name of the curve → its label
    caption: str
    scale: float = 1.0  # what values are multiplied by, e.g. 100 for per cent
    logarithmic: bool = False  # the y axis
    linear_steps: bool = False  # the step axis, which is logarithmic else


NOISE_MAPPING = CurveFigure(
    "noise_mapping",
    "Noise mapping",
    "correctly assigned, %",
    {"noise_mapping/image_to_noise": "image → noise", "noise_mapping/noise_to_image": "noise → image"},
    "How often the nearest noise of an image (L2 distance) is the one it was generated from, and the reverse.",
    scale=100,
)
NEIGHBOURHOODS = CurveFigure(
    "knn_coverage",
    "Neighbourhoods",
    "shared neighbours, %",
    {"knn_coverage/image": "neighbours of images", "knn_coverage/noise": "neighbours of noises"},
    "Mean share of the k nearest images that are also among the k nearest at the last checkpoint.",
    scale=100,
)
ALIGNMENT = CurveFigure(
    "alignment",
    "Alignment with the final images",
    "similarity",
    {"cka/biased": "CKA", "svcca/mean": "SVCCA", "ssim/mean": "SSIM", "dino/mean": "DINO"},
    "How alike the images of a checkpoint and those of the last one from the same noises are: linear CKA, SVCCA, "
    "SSIM (uniform 7×7 window) and the cosine of DINO's features, those of them that were measured.",
)
ANGLES = CurveFigure(
    "angles",
    "Angles of the triangle",
    "angle, degrees",
    {
        "triangle/image_of_mean": f"at the image {IMAGE}",
        "triangle/noise_of_mean": f"at the noise {NOISE}",
        "triangle/latent_of_mean": f"at the latent {LATENT}",
    },
    "Arc cosine of the mean cosine at each corner of the triangle of noise, image and inverted latent.",
)
DISTANCES = CurveFigure(
    "distances",
    "Distances",
    "L2 distance",
    {
        "distances/noise_latent": f"noise {NOISE} to latent {LATENT}",
        "distances/image_latent": f"image {IMAGE} to latent {LATENT}",
        "distances/image_noise": f"image {IMAGE} to noise {NOISE}",
    },
    "Mean L2 distances over all pixels between noise, image and inverted latent.",
)
CORRELATION = CurveFigure(
    "correlation",
    "Correlation of pixels",
    "|correlation|",
    {
        "correlation/noise": f"noise {NOISE}",
        "correlation/samples": f"image {IMAGE}",
        "correlation/latents": f"latent {LATENT}",
        "correlation/floor": "fresh noise",
    },
    "Mean of the ten largest absolute correlations of two pixels over the images; in fresh noise, what chance shows.",
)
ANALYSIS_FIGURES = (NOISE_MAPPING, NEIGHBOURHOODS, ALIGNMENT, ANGLES, DISTANCES, CORRELATION)


def _of_early_inverter(spec: CurveFigure) -> CurveFigure:
    """The same numbers with the last checkpoint's images, inverted by the checkpoint of each step."""
    curves = {f"early_inverter/{name.split('/')[1]}": label for name, label in spec.curves.items()}
    caption = f"The last checkpoint's images, inverted by the checkpoint of each step. {spec.caption}"
    title = f"{spec.title}, last images"
    return dataclasses.replace(spec, name=f"early_inverter_{spec.name}", title=title, curves=curves, caption=caption)


EARLY_INVERTER_FIGURES = (_of_early_inverter(ANGLES), _of_early_inverter(DISTANCES))
TRAINING_FIGURE = CurveFigure(
    "loss",
    "Training loss",
    "loss",
    {"loss": "loss", "mse": "L_simple"},
    "Mean since the point before. The loss holds the variational bound as well, which trains the variance.",
    logarithmic=True,
)


def figures_of_others(curves: Mapping[str, Curve]) -> list[CurveFigure]:
    """A figure for each measure that no figure above shows, of its first numbers, where it has several checkpoints."""
    shown = {name.partition("/")[0] for spec in (*ANALYSIS_FIGURES, *EARLY_INVERTER_FIGURES) for name in spec.curves}
    others: dict[str, dict[str, str]] = {}
    for name, curve in curves.items():
        measure, _, value = name.partition("/")
        if measure not in shown and len(curve.steps) > 1 and len(others.setdefault(measure, {})) < len(COLOURS):
            others[measure][name] = value
    return [
        CurveFigure(measure, measure.replace("_", " "), "value", labels, f"What the measure {measure} returns.")
        for measure, labels in others.items()
    ]


@styled
def draw(spec: CurveFigure, curves: Mapping[str, Curve]) -> Figure:
    """The figure of those of its curves that are there."""
    figure = new_figure(COLUMN, HEIGHT)
    _draw_panel(figure, spec, curves)
    return figure


@styled
def draw_panels(specs: Sequence[CurveFigure], curves: Mapping[str, Curve]) -> Figure:
    """Several such figures side by side as one, with letters."""
    figure = new_figure(PAGE, HEIGHT)
    panels = figure.subfigures(1, len(specs), squeeze=False)[0]
    for letter, panel, spec in zip("abcdef", panels, specs, strict=False):
        _draw_panel(panel, dataclasses.replace(spec, title=f"({letter}) {spec.title}"), curves)
    return figure


def _draw_panel(panel: Figure | SubFigure, spec: CurveFigure, curves: Mapping[str, Curve]) -> None:
    axes = panel.add_subplot()
    for (name, label), look in zip(spec.curves.items(), zip(COLOURS, MARKERS, LINES, strict=True), strict=False):
        if name in curves:
            _draw_curve(axes, curves[name], spec.scale, label, look)
    steps = [step for name in spec.curves if name in curves for step in curves[name].steps]
    if spec.linear_steps:
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True))
    else:
        _logarithmic_steps(axes, steps)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: step_label(step)))
    axes.set(title=spec.title, ylabel=spec.y_label, xlabel="training step")
    if spec.logarithmic:
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", useOffset=False)
    if spec.scale == PER_CENT:
        axes.set_ylim(top=min(axes.get_ylim()[1], MOST_PER_CENT))
    axes.grid()
    labels = axes.get_legend_handles_labels()[1]
    columns = 1 if max(map(len, labels)) > LONG else 2 if sum(map(len, labels)) > 24 else len(labels)
    panel.legend(loc="outside lower center", ncols=columns)


def _draw_curve(axes: Axes, curve: Curve, scale: float, label: str, look: tuple[str, str, Any]) -> None:
    colour, marker, line = look
    mean = [scale * value for value in curve.mean]
    low = [value - scale * spread for value, spread in zip(mean, curve.std, strict=True)]
    high = [value + scale * spread for value, spread in zip(mean, curve.std, strict=True)]
    every = None if len(mean) <= FEW else 0.1  # of the diagonal of the axes
    axes.plot(curve.steps, mean, color=colour, marker=marker, linestyle=line, markevery=every, label=label)
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, linewidth=0)


def _logarithmic_steps(axes: Axes, steps: list[int]) -> None:
    """A logarithmic axis that step 0 has a place on: linear up to the first checkpoint after it."""
    after_zero = [step for step in steps if step > 0]
    first, last = min(after_zero, default=1), max(after_zero, default=1)
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    decades = [10**power for power in range(8) if first <= 10**power <= last / 2]
    axes.set_xticks([0, *(decades if len(decades) > 1 else _apart([*decades, *after_zero], last)), last])
    axes.xaxis.set_minor_locator(NullLocator())


def _apart(steps: list[int], last: int) -> list[int]:
    """Steps whose labels have room beside each other and the last one's on a short logarithmic axis."""
    kept: list[int] = []
    for step in sorted(set(steps)):
        if step * APART <= last and (not kept or step >= kept[-1] * APART):
            kept.append(step)
    return kept


@styled
def to_svg(figure: Figure) -> str:
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "noisemap"}):  # the same ids for the same figure
        figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
