"""How far the way from noise to image is from the line between noise and latent, as a map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyze.report.figures.style import COLUMN, IMAGE, LATENT, NOISE, new_figure, styled


@styled
def draw_interpolation(times: Sequence[float], lambdas: Sequence[float], mean: Sequence[Sequence[float]]) -> Figure:
    """`mean[k][l]`, the mean ‖(1−λ)x_T + λx̂_T − x_t‖ at t = times[k] and λ = lambdas[l], the nearest λ marked.

    `times` are in DDIM steps and fall from T, the noise, on the left to 0, the image. Of equally near λ the first is
    marked. Source: the paper, Figure 3.
    """
    distance = np.array(mean)
    figure = new_figure(COLUMN, 2.6)
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(times, lambdas, distance.T, shading="nearest", cmap="viridis", rasterized=True)
    axes.plot(
        times,
        np.array(lambdas)[distance.argmin(axis=1)],
        "o",
        markerfacecolor="white",
        markeredgecolor="black",
        markeredgewidth=0.6,
        label=r"nearest $\lambda$ at each $t$",
        clip_on=False,
    )
    axes.invert_xaxis()
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_xlabel(f"$t$, DDIM steps (left: noise {NOISE}, right: image {IMAGE})")
    axes.set_ylabel(rf"$\lambda$ (0: noise {NOISE}, 1: latent {LATENT})")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.2, handletextpad=0.2)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(r"mean $\Vert(1-\lambda)\,x_T+\lambda\,\hat{x}_T-x_t\Vert_2$")
    bar.outline.set_linewidth(0.6)
    return figure
