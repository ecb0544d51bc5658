"""How all figures look: the size of the page, type, lines and colours."""

from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLUMN, PAGE = 3.35, 6.9  # inches: one column of a two-column page, and both
DPI = 200  # of PNG files

# The first four are of Okabe & Ito (2008), told apart by the colour-blind too; so are markers and lines without colour.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A6400", "#6A4C93")
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1, 1, 1)))
SOFT = "#666666"

NOISE, IMAGE, LATENT = r"$x_T$", r"$x_0$", r"$\hat{x}_T$"

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with Matplotlib, so that every machine draws the same
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
    "image.interpolation": "none",  # pixels stay squares, in PDF files too
    "text.usetex": False,
    "pdf.fonttype": 42,  # letters stay letters
    "svg.hashsalt": "noisemap",  # the same figure is the same file
}
styled = matplotlib.rc_context(STYLE)  # around every function that draws or writes


def new_figure(width: float, height: float, layout: str = "constrained") -> Figure:
    """An empty figure of a size in inches."""
    return Figure(figsize=(width, height), layout=layout)  # type: ignore[arg-type]


def step_label(step: float) -> str:
    """A training step as short as a tick wants it: 0, 250, 2,500, 39k, 1.5M."""
    if abs(step) < 10_000:
        return f"{step:,.0f}"
    return f"{step / 1e6:.4g}M" if abs(step) >= 1e6 else f"{step / 1e3:.4g}k"
