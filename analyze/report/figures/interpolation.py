"""Map of the distance of the sampling trajectory from the line between noise and latent."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analyze.report.figures.style import COLUMN, new_figure, styled, symbols


@styled
def draw_interpolation(times: Sequence[float], lambdas: Sequence[float], mean: Sequence[Sequence[float]]) -> Figure:
    """Draw `mean[k][l]`, the mean ‖(1−λ)x_T + λx̂_T − x_t‖ at t = times[k] and λ = lambdas[l].

    `times` are in DDIM steps and decrease from T (noise, left) to 0 (image, right). A marker shows the nearest λ of
    each t; the first λ wins a tie. Source: the paper, Figure 3.
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
    axes.set_xlabel(symbols("$t$, DDIM steps (left: noise x_T, right: image x_0)"))
    axes.set_ylabel(symbols(r"$\lambda$ (0: noise x_T, 1: latent x̂_T)"))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), borderpad=0.2, handletextpad=0.2)
    bar = figure.colorbar(mesh, ax=axes, pad=0.02)
    bar.set_label(r"mean $\Vert(1-\lambda)\,x_T+\lambda\,\hat{x}_T-x_t\Vert_2$")
    bar.outline.set_linewidth(0.6)
    return figure
