"""Images sampled from points between noise and latent, and their distances."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from analyze.generations import Images
from analyze.report.figures.pictures import BORDER, PictureRow, draw_rows
from analyze.report.figures.style import COLORS, COLUMN, LINES, MARKERS, new_figure, styled, symbols

ROWS = 4
DISTANCES = {"to_start": "from the image at λ = 0", "to_data": "from the nearest training image"}


@styled
def draw_self_interpolations(lambdas: Sequence[float], images: Images) -> Figure:
    """Draw images [L, n, C, H, W], one row per noise and one column per λ from 0 (noise) to 1 (latent).

    The number below an image is its L2 distance from the first of its row.
    """
    names = ["noise x_T", *(f"λ = {value:.2g}" for value in lambdas[1:-1]), "latent x̂_T"]
    rows: list[PictureRow] = []
    for row in images[:, :ROWS].transpose(0, 1):
        distances = (row - row[0]).double().flatten(1).norm(dim=1).tolist()
        below = ["", *(f"{distance:#.3g}" for distance in distances[1:])]
        rows.append(PictureRow("", row, below=below, above=() if rows else names))
    return draw_rows(rows, margin=BORDER)


@styled
def draw_interpolation_distances(
    lambdas: Sequence[float], distances: Mapping[str, Sequence[Sequence[float]]]
) -> Figure:
    """Draw mean ± standard deviation over seeds; `distances` maps the keys of DISTANCES to values [seeds][L]."""
    figure = new_figure(COLUMN, 2.6)
    axes = figure.add_subplot()
    for (key, values), color, marker, line in zip(distances.items(), COLORS, MARKERS, LINES, strict=False):
        mean, std = np.mean(values, axis=0), np.std(values, axis=0, ddof=1) if len(values) > 1 else 0.0
        axes.plot(lambdas, mean, color=color, marker=marker, linestyle=line, label=DISTANCES[key])
        axes.fill_between(lambdas, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
    axes.set(xlabel=symbols(r"$\lambda$ (0: noise x_T, 1: latent x̂_T)"), ylabel="mean L2 distance", ylim=(0, None))
    axes.grid()
    figure.legend(loc="outside lower center", ncols=1)
    return figure
