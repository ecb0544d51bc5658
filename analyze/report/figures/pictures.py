"""Figures of labeled rows of pictures."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from analyze.generations import Images
from analyze.measures.mistakes import Attractors, MappingMistakes, Mistakes
from analyze.report.figures.style import PAGE, SOFT, mathtext, new_figure, styled
from records.pictures import GAP, LATENT_RANGE, grid

COLUMNS = 8
STEPS_SHOWN, NOISES_SHOWN = 9, 6
MARGIN = 1.35  # width of the labels at the left, inches
LINE = 0.15  # height of a line of text, inches
BORDER, GUTTER = 0.03, 0.05  # around the figure and between rows, inches


@dataclass(frozen=True)
class PictureRow:
    """Images [n, C, H, W] with their labels; −largest is black and largest is white."""

    label: str
    images: Tensor
    largest: float = 1.0
    below: Sequence[str] = ()  # one text per image
    above: Sequence[str] = ()
    note: str = ""  # small, below the label
    heading: str = ""  # of this row and the following ones


@styled
def draw_pictures(noise: Tensor, images: Images, latents: Tensor) -> Figure:
    """Draw noise x_T, image x_0, latent x̂_T and the difference of latent and noise, all [N, C, H, W].

    Images that are decoded from codes are larger than the noise. Source: the paper, Figure 1.
    """
    noise, latents = noise[:COLUMNS], latents[:COLUMNS]
    difference = latents - noise
    largest = _round_up(difference.abs().flatten().double().quantile(0.99).item())
    rows = [
        _noise_row("noise x_T", noise, LATENT_RANGE),
        PictureRow("image x_0", images[:COLUMNS]),
        _noise_row("latent x̂_T", latents, LATENT_RANGE),
        _noise_row("difference x̂_T − x_T", difference, largest),
    ]
    return draw_rows(rows)


def _noise_row(label: str, images: Tensor, largest: float) -> PictureRow:
    return PictureRow(label, images, largest, note=f"black −{largest:g}, white {largest:g}")


def _round_up(value: float) -> float:
    """Round up to one significant digit."""
    if value <= 0:
        return 1.0
    digit = 10.0 ** np.floor(np.log10(value))
    return float(f"{np.ceil(value / digit) * digit:.1g}")


@styled
def draw_mistakes(images: Images, mistakes: MappingMistakes) -> Figure:
    """Draw the wrongly assigned images and noises, and those nearest to several others, of images [N, C, H, W].

    A noise is shown as the image generated from it. Source: the paper, Figure 8.
    """
    to_image, to_noise = mistakes.noise_to_image, mistakes.image_to_noise
    return draw_rows(
        [
            PictureRow(
                "image of a wrongly\nassigned noise",
                images[to_image.wrong[:COLUMNS]],
                heading=_count("noise → image", to_image, images),
            ),
            PictureRow("image nearest\nto that noise", images[to_image.nearest[:COLUMNS]]),
            _attractor_row("images nearest to\nseveral noises", mistakes.attracting_images, images, "noises"),
            PictureRow(
                "wrongly assigned\nimage",
                images[to_noise.wrong[:COLUMNS]],
                heading=_count("image → noise", to_noise, images),
            ),
            PictureRow("image of the noise\nnearest to it", images[to_noise.nearest[:COLUMNS]]),
            _attractor_row("images of noises\nnearest to several", mistakes.attracting_noises, images, "images"),
        ],
        min_columns=COLUMNS,
    )


def _count(direction: str, mistakes: Mistakes, images: Images) -> str:
    return f"{direction}: {len(mistakes.wrong):,} of {len(images):,} wrong"


def _attractor_row(label: str, attractors: Attractors, images: Images, noun: str) -> PictureRow:
    several = attractors.counts[:COLUMNS] > 1
    indices, counts = attractors.indices[:COLUMNS][several], attractors.counts[:COLUMNS][several]
    return PictureRow(label, images[indices], below=[f"{count:,} {noun}" for count in counts.tolist()])


@styled
def draw_by_variance(samples: Tensor, images: Images, by_variance: Tensor, rows: int = 2) -> Figure:
    """Draw the images [N, C, H, W] of the samples x_0 with the lowest and the highest pixel variance.

    `by_variance` [N] are the indices by ascending variance, over all pixels and channels of a sample in [−1, 1].
    The samples are the images themselves or the codes they are decoded from. Source: the paper, Figure 9.
    """
    variance = samples.flatten(1).double().var(dim=1, correction=0)
    shown = min(rows * COLUMNS, len(samples))
    ends = {"lowest pixel\nvariance": by_variance[:shown], "highest pixel\nvariance": by_variance.flip(0)[:shown]}
    return draw_rows(
        [
            PictureRow(
                label if start == 0 else "", images[part], below=[f"{value:#.3g}" for value in variance[part].tolist()]
            )
            for label, indices in ends.items()
            for start, part in zip(range(0, shown, COLUMNS), indices.split(COLUMNS), strict=True)
        ]
    )


@styled
def draw_training(noise: Tensor, samples: dict[int, Tensor]) -> Figure:
    """Draw noises [N, C, H, W] and the samples [N, C, H, W] generated from them, by training step.

    Source: the paper, Figures 11 and 12 (one per model).
    """
    columns = [noise[:NOISES_SHOWN] / LATENT_RANGE, *(images[:NOISES_SHOWN] for images in samples.values())]
    names = ["x_T", *(f"{step:,}" for step in samples)]
    stacked = torch.stack(columns, dim=1)  # [rows, columns, C, H, W]
    first, *others = (PictureRow("", images) for images in stacked)
    first = dataclasses.replace(first, above=names, heading="Images from the same noise, by training step")
    return draw_rows([first, *others], margin=BORDER)


def spread(steps: Sequence[int], count: int = STEPS_SHOWN) -> list[int]:
    """Return at most `count` of the ascending steps, always with the first, the last and step 0 if present.

    The steps are evenly spaced in the logarithm, because most changes happen early.
    """
    if len(steps) <= count:
        return list(steps)
    zero, rest = [step for step in steps if step == 0], [step for step in steps if step > 0]
    targets = np.geomspace(rest[0], rest[-1], count - len(zero))
    return zero + sorted({min(rest, key=lambda step: abs(math.log(step / target))) for target in targets})


@styled
def draw_rows(rows: Sequence[PictureRow], margin: float = MARGIN, min_columns: int = 1) -> Figure:
    """Draw rows of images of one size; the longest row, or one of `min_columns` images, fills the page width."""
    columns = max([min_columns, *(len(row.images) for row in rows)])
    height, width = max(tuple(row.images.shape[-2:]) for row in rows)
    rows = [dataclasses.replace(row, images=_repeat_pixels(row.images, height // row.images.shape[-2])) for row in rows]
    image = (PAGE - margin - BORDER) / columns * height / (width + GAP)  # height in inches, like all below
    total = 2 * BORDER + sum(_space_above(row) + image + _space_below(row) for row in rows)
    figure, y = new_figure(PAGE, total, layout="none"), BORDER
    for row in rows:
        figure.text(margin / PAGE, 1 - y / total, row.heading, verticalalignment="top", fontsize=9)
        y += _space_above(row) + image
        box = (margin / PAGE, 1 - y / total, 1 - (margin + BORDER) / PAGE, image / total)
        _draw_row(figure.add_axes(box), row, columns, (height, width))
        y += _space_below(row)
    return figure


def _repeat_pixels(images: Tensor, times: int) -> Tensor:
    """Repeat every pixel of images [n, C, H, W] in both directions."""
    return images.repeat_interleave(times, dim=-1).repeat_interleave(times, dim=-2)


def _space_above(row: PictureRow) -> float:
    return LINE * bool(row.above) + 1.4 * LINE * bool(row.heading)


def _space_below(row: PictureRow) -> float:
    return LINE * bool(row.below) + GUTTER


def _draw_row(axes: Axes, row: PictureRow, columns: int, size: tuple[int, int]) -> None:
    height, width = size
    axes.axis("off")
    if len(row.images):
        axes.imshow(_enlarge(row), extent=(0, len(row.images) * (width + GAP) - GAP, height, 0), aspect="auto")
        for end in range(width + GAP, len(row.images) * (width + GAP), width + GAP):  # gaps in the page color
            axes.axvspan(end - GAP, end, color="white", linewidth=0.3)
    else:
        axes.text(0, height / 2, "none", verticalalignment="center", color=SOFT)
    axes.set(xlim=(0, columns * (width + GAP)), ylim=(height, 0))
    for texts, y, offset, alignment in ((row.below, height, -2, "top"), (row.above, 0, 2, "bottom")):
        for i, text in enumerate(texts):
            axes.annotate(
                mathtext(text),
                (i * (width + GAP) + width / 2, y),
                (0, offset),
                textcoords="offset points",
                horizontalalignment="center",
                verticalalignment=alignment,
                fontsize=7,
            )
    _write_label(axes, row)


def _write_label(axes: Axes, row: PictureRow) -> None:
    label = mathtext(row.label)
    placement: dict[str, Any] = {
        "textcoords": "offset points",
        "xycoords": "axes fraction",
        "horizontalalignment": "right",
    }
    if row.note:
        axes.annotate(label, (0, 0.5), (-5, 1), verticalalignment="bottom", **placement)
        axes.annotate(row.note, (0, 0.5), (-5, -2), verticalalignment="top", color=SOFT, fontsize=6, **placement)
    elif label:
        axes.annotate(label, (0, 0.5), (-5, 0), verticalalignment="center", **placement)


def _enlarge(row: PictureRow) -> np.ndarray:
    """Return the row as one picture with repeated pixels, because PDF viewers blur small images."""
    picture = np.asarray(grid(row.images, len(row.images), row.largest))
    times = max(1, round(160 / row.images.shape[-1]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
