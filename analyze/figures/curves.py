"""Curves against the training step: mean over seeds as a line, ± one standard deviation as a band."""

import io
from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from analyze.curves import Curve

# Okabe & Ito (2008): told apart by the colour-blind too; the markers tell them apart without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = ("o", "s", "^", "D")


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


ANALYSIS_FIGURES = (
    CurveFigure(
        "noise_mapping",
        "Noise mapping",
        "correctly assigned, %",
        {"noise_mapping/image_to_noise": "image → noise", "noise_mapping/noise_to_image": "noise → image"},
        "How often the nearest noise of an image (L2 distance) is the one it was generated from, and the reverse.",
        scale=100,
    ),
    CurveFigure(
        "knn_coverage",
        "Neighbourhoods",
        "shared with the last checkpoint, %",
        {"knn_coverage/image": "neighbours of images", "knn_coverage/noise": "neighbours of noises"},
        "Mean share of the k nearest images that are also among the k nearest at the last checkpoint.",
        scale=100,
    ),
    CurveFigure(
        "alignment",
        "Alignment with the final images",
        "similarity",
        {"cka/biased": "CKA", "ssim/mean": "SSIM"},
        "Linear CKA and SSIM (uniform 7×7 window) of the images of a checkpoint with those of the last one.",
    ),
    CurveFigure(
        "angles",
        "Angles of the triangle",
        "angle, degrees",
        {
            "triangle/image_of_mean": "at the image x₀",
            "triangle/noise_of_mean": "at the noise x_T",
            "triangle/latent_of_mean": "at the latent x̂_T",
        },
        "Arc cosine of the mean cosine at each corner of the triangle of noise, image and inverted latent.",
    ),
    CurveFigure(
        "distances",
        "Distances",
        "L2 distance",
        {
            "distances/noise_latent": "noise to latent",
            "distances/image_latent": "image to latent",
            "distances/image_noise": "image to noise",
        },
        "Mean L2 distances over all pixels between noise, image and inverted latent.",
    ),
)
TRAINING_FIGURE = CurveFigure(
    "loss",
    "Training loss",
    "loss",
    {"loss": "loss", "mse": "L_simple"},
    "Mean since the point before. The loss holds the variational bound as well, which trains the variance.",
    logarithmic=True,
)


def draw(spec: CurveFigure, curves: Mapping[str, Curve]) -> Figure:
    """The figure of those of its curves that are there."""
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for (name, label), colour, marker in zip(spec.curves.items(), COLOURS, MARKERS, strict=False):
        if name in curves:
            _draw_curve(axes, curves[name], spec.scale, label, colour, marker)
    _step_axis(axes, [step for name in spec.curves if name in curves for step in curves[name].steps])
    axes.set(title=spec.title, ylabel=spec.y_label)
    if spec.logarithmic:
        axes.set_yscale("log")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure


def _draw_curve(axes, curve: Curve, scale: float, label: str, colour: str, marker: str) -> None:
    mean = [scale * value for value in curve.mean]
    low = [value - scale * spread for value, spread in zip(mean, curve.std, strict=True)]
    high = [value + scale * spread for value, spread in zip(mean, curve.std, strict=True)]
    few = len(mean) <= 30
    axes.plot(curve.steps, mean, color=colour, marker=marker if few else None, markersize=4, label=label)
    axes.fill_between(curve.steps, low, high, color=colour, alpha=0.2, linewidth=0)


def _step_axis(axes, steps: list[int]) -> None:
    """A logarithmic axis that step 0 has a place on: linear up to the first checkpoint after it."""
    after_zero = [step for step in steps if step > 0]
    first = min(after_zero, default=1)
    axes.set_xscale("symlog", linthresh=first, linscale=0.5)
    decades = [10**power for power in range(8) if first <= 10**power <= max(after_zero, default=1)]
    axes.set_xticks([0, *decades, max(after_zero, default=1)])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.set_xlabel("training step")


def to_svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
