"""Rows of pictures with labels."""

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

from analyze.measures.mistakes import Attractors, MappingMistakes, Mistakes
from analyze.report.figures.style import IMAGE, LATENT, NOISE, PAGE, SOFT, new_figure, styled
from records.pictures import GAP, LATENT_RANGE, grid

COLUMNS = 8
STEPS_SHOWN, NOISES_SHOWN = 9, 6
MARGIN = 1.35  # inches at the left that labels have
LINE = 0.15  # inches, as BORDER and GUTTER are
BORDER, GUTTER = 0.03, 0.05  # around the figure, and between rows


@dataclass(frozen=True)
class PictureRow:
    """Images [n, C, H, W], −largest as black and largest as white, and what is written around them."""

    label: str
    images: Tensor
    largest: float = 1.0
    below: Sequence[str] = ()  # an entry an image
    above: Sequence[str] = ()
    note: str = ""  # small, below the label
    heading: str = ""  # of this row and the next ones


@styled
def draw_pictures(noise: Tensor, images: Tensor, latents: Tensor) -> Figure:
    """Noise x_T, image x_0, latent x̂_T and what the latent has that the noise has not, all [N, C, H, W].

    Images that were decoded from codes have another size than the noise.

    Source: the paper, Figure 1.
    """
    noise, images, latents = (tensor[:COLUMNS] for tensor in (noise, images, latents))
    difference = latents - noise
    widest = _round_up(difference.abs().flatten().double().quantile(0.99).item())
    rows = [
        _noise_row(f"noise {NOISE}", noise, LATENT_RANGE),
        PictureRow(f"image {IMAGE}", images),
        _noise_row(f"latent {LATENT}", latents, LATENT_RANGE),
        _noise_row(f"difference {LATENT} − {NOISE}", difference, widest),
    ]
    return draw_rows(rows)


def _noise_row(label: str, images: Tensor, largest: float) -> PictureRow:
    return PictureRow(label, images, largest, note=f"black −{largest:g}, white {largest:g}")


def _round_up(value: float) -> float:
    """The next number with one significant digit, so that it can be written down."""
    if value <= 0:
        return 1.0
    digit = 10.0 ** np.floor(np.log10(value))
    return float(f"{np.ceil(value / digit) * digit:.1g}")


@styled
def draw_mistakes(samples: Tensor, found: MappingMistakes) -> Figure:
    """Which images and noises are taken for another's, and which ones attract the others, of samples [N, C, H, W].

    Every noise is shown as the image that becomes of it. Source: the paper, Figure 8.
    """
    to_image, to_noise = found.noise_to_image, found.image_to_noise
    return draw_rows(
        [
            PictureRow(
                "image of a noise\nassigned wrongly",
                samples[to_image.wrong[:COLUMNS]],
                heading=_counted("noise → image", to_image, samples),
            ),
            PictureRow("image nearest\nto that noise", samples[to_image.nearest[:COLUMNS]]),
            _attractor_row("images nearest to\nseveral noises", found.attracting_images, samples, "noises"),
            PictureRow(
                "image assigned\nwrongly",
                samples[to_noise.wrong[:COLUMNS]],
                heading=_counted("image → noise", to_noise, samples),
            ),
            PictureRow("image of the noise\nnearest to it", samples[to_noise.nearest[:COLUMNS]]),
            _attractor_row("images of noises\nnearest to several", found.attracting_noises, samples, "images"),
        ],
        at_least=COLUMNS,
    )


def _counted(way: str, mistakes: Mistakes, samples: Tensor) -> str:
    return f"{way}: {len(mistakes.wrong):,} of {len(samples):,} wrong"


def _attractor_row(label: str, attractors: Attractors, samples: Tensor, of: str) -> PictureRow:
    several = attractors.counts[:COLUMNS] > 1
    indices, counts = attractors.indices[:COLUMNS][several], attractors.counts[:COLUMNS][several]
    return PictureRow(label, samples[indices], below=[f"{count:,} {of}" for count in counts.tolist()])


@styled
def draw_by_variance(samples: Tensor, images: Tensor, by_variance: Tensor, rows: int = 2) -> Figure:
    """The images [N, C, H, W] of those samples x_0 that vary the least and the most, with the variance.

    `by_variance` [N] are their indices, the plainest first. Variance is over all pixels and channels of a sample,
    in [−1, 1]; samples are the images themselves, or the codes that they are decoded from. Source: the paper, Figure 9.
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
    """What becomes of the same noises [N, C, H, W] at growing training steps: samples [N, C, H, W] by step.

    Source: the paper, Figures 11 and 12 (one a model).
    """
    columns = [noise[:NOISES_SHOWN] / LATENT_RANGE, *(images[:NOISES_SHOWN] for images in samples.values())]
    names = [NOISE, *(f"{step:,}" for step in samples)]
    stacked = torch.stack(columns, dim=1)  # [rows, columns, C, H, W]
    first, *others = (PictureRow("", images) for images in stacked)
    first = dataclasses.replace(first, above=names, heading="The same noises at growing training steps")
    return draw_rows([first, *others], margin=BORDER)


def spread(steps: Sequence[int], shown: int = STEPS_SHOWN) -> list[int]:
    """At most so many of the ascending steps, the first and the last among them, and 0 where it is one.

    They are spread evenly in the logarithm, because most happens early.
    """
    if len(steps) <= shown:
        return list(steps)
    zero, rest = [step for step in steps if step == 0], [step for step in steps if step > 0]
    targets = np.geomspace(rest[0], rest[-1], shown - len(zero))
    return zero + sorted({min(rest, key=lambda step: abs(math.log(step / target))) for target in targets})


@styled
def draw_rows(rows: Sequence[PictureRow], margin: float = MARGIN, at_least: int = 1) -> Figure:
    """Rows of images below each other, shown in one size: what the longest row, or one of `at_least` images, allows."""
    columns = max([at_least, *(len(row.images) for row in rows)])
    height, width = max(tuple(row.images.shape[-2:]) for row in rows)
    rows = [dataclasses.replace(row, images=_repeated(row.images, height // row.images.shape[-2])) for row in rows]
    image = (PAGE - margin - BORDER) / columns * height / (width + GAP)  # inches, as all below
    total = 2 * BORDER + sum(_above(row) + image + _below(row) for row in rows)
    figure, at = new_figure(PAGE, total, layout="none"), BORDER
    for row in rows:
        figure.text(margin / PAGE, 1 - at / total, row.heading, verticalalignment="top", fontsize=9)
        at += _above(row) + image
        box = (margin / PAGE, 1 - at / total, 1 - (margin + BORDER) / PAGE, image / total)
        _draw_row(figure.add_axes(box), row, columns, (height, width))
        at += _below(row)
    return figure


def _repeated(images: Tensor, times: int) -> Tensor:
    """Images [n, C, H, W] with every pixel so many times in each direction."""
    return images.repeat_interleave(times, dim=-1).repeat_interleave(times, dim=-2)


def _above(row: PictureRow) -> float:
    return LINE * bool(row.above) + 1.4 * LINE * bool(row.heading)


def _below(row: PictureRow) -> float:
    return LINE * bool(row.below) + GUTTER


def _draw_row(axes: Axes, row: PictureRow, columns: int, size: tuple[int, int]) -> None:
    height, width = size
    axes.axis("off")
    if len(row.images):
        axes.imshow(_enlarged(row), extent=(0, len(row.images) * (width + GAP) - GAP, height, 0), aspect="auto")
        for end in range(width + GAP, len(row.images) * (width + GAP), width + GAP):  # gaps of the page's colour
            axes.axvspan(end - GAP, end, color="white", linewidth=0.3)
    else:
        axes.text(0, height / 2, "none", verticalalignment="center", color=SOFT)
    axes.set(xlim=(0, columns * (width + GAP)), ylim=(height, 0))
    for texts, y, offset, alignment in ((row.below, height, -2, "top"), (row.above, 0, 2, "bottom")):
        for i, text in enumerate(texts):
            axes.annotate(
                text,
                (i * (width + GAP) + width / 2, y),
                (0, offset),
                textcoords="offset points",
                horizontalalignment="center",
                verticalalignment=alignment,
                fontsize=7,
            )
    _write_label(axes, row)


def _write_label(axes: Axes, row: PictureRow) -> None:
    beside: dict[str, Any] = {
        "textcoords": "offset points",
        "xycoords": "axes fraction",
        "horizontalalignment": "right",
    }
    if row.note:
        axes.annotate(row.label, (0, 0.5), (-5, 1), verticalalignment="bottom", **beside)
        axes.annotate(row.note, (0, 0.5), (-5, -2), verticalalignment="top", color=SOFT, fontsize=6, **beside)
    elif row.label:
        axes.annotate(row.label, (0, 0.5), (-5, 0), verticalalignment="center", **beside)


def _enlarged(row: PictureRow) -> np.ndarray:
    """The row as one picture; each pixel is repeated, since viewers of PDF files may blur small images."""
    picture = np.asarray(grid(row.images, len(row.images), row.largest))
    times = max(1, round(160 / row.images.shape[-1]))
    return picture.repeat(times, axis=0).repeat(times, axis=1)
