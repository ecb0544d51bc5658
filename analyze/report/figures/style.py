"""Style of all figures: page size, fonts, lines and colors."""

import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLUMN, PAGE = 3.35, 6.9  # width of one column and of a two-column page, inches
DPI = 200  # PNG files

# The first four are from Okabe & Ito (2008), distinguishable by color-blind readers; markers and lines differ as well.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6400", "#6A4C93")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
SOFT = "#666666"

SYMBOLS = {"x̂_T": r"$\hat{x}_T$", "x_T": "$x_T$", "x_0": "$x_0$"}

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # ships with Matplotlib: figures are identical on every machine
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "legend.handlelength": 2.8,
    "legend.columnspacing": 1.0,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "patch.linewidth": 0.8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "savefig.dpi": DPI,
    "savefig.bbox": None,
    "image.interpolation": "none",  # square pixels, also in PDF files
    "text.usetex": False,
    "pdf.fonttype": 42,  # text remains text
    "svg.hashsalt": "noisemap",  # reproducible ids
}
styled = matplotlib.rc_context(STYLE)  # decorates every function that draws or writes a figure


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """Create an empty figure with a size in inches."""
    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]


def step_label(step: float) -> str:
    """Return the tick label of a training step: 0, 250, 2,500, 39k, 1.5M."""
    if abs(step) < 10_000:
        return f"{step:,.0f}"
    return f"{step / 1e6:.4g}M" if abs(step) >= 1e6 else f"{step / 1e3:.4g}k"


def mathtext(text: str) -> str:
    """Return any text for Matplotlib, with x_T, x_0 and x̂_T typeset as mathematics, and everything else unchanged.

    Matplotlib would typeset text between dollar signs, and omit a label from the legend that starts with "_".
    """
    return symbols(re.sub("^_", r"$\\_$", text.replace("$", r"\$")))


def symbols(text: str) -> str:
    """Return a label with x_T, x_0 and x̂_T typeset as mathematics; it may contain mathematics between dollar signs."""
    return re.sub("|".join(SYMBOLS), lambda symbol: SYMBOLS[symbol[0]], text)
