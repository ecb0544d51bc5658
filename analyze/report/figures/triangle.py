"""The triangle of noise, image and latent, to scale."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Polygon

from analyze.report.figures.style import COLOURS, COLUMN, IMAGE, LATENT, NOISE, SOFT, new_figure, styled

CORNERS = ("noise", "image", "latent")
LABELS = {"noise": f"noise {NOISE}", "image": f"image {IMAGE}", "latent": f"latent {LATENT}"}
LOOKS = dict(zip(("image", "noise", "latent"), zip(COLOURS, ("s", "o", "^"), strict=False), strict=True))
SIDES = {"noise_latent": ("noise", "latent"), "image_latent": ("image", "latent"), "image_noise": ("image", "noise")}
LOWEST, HIGHEST = 1.3, 4.0  # inches


@styled
def draw_triangle(angles: Mapping[str, float], distances: Mapping[str, float] | None = None) -> Figure:
    """The triangle with these angles in degrees at noise, image and latent, which add up to 180.

    `distances` are mean L2 distances (noise_latent, image_latent, image_noise), which are written at the sides; the
    most probable triangle is another statistic than these means, so that its sides have only about their ratio.
    Source: the paper, Figure 2.
    """
    places = corners(angles)
    height = np.ptp([place[1] for place in places.values()])
    figure = new_figure(COLUMN, min(max(COLUMN * height + 0.8, LOWEST), HIGHEST))
    axes = figure.add_subplot(aspect="equal")
    axes.axis("off")
    axes.margins(0.02)
    axes.add_patch(Polygon([places[corner] for corner in CORNERS], facecolor="#F2F2F2", edgecolor="black"))
    middle = np.mean(list(places.values()), axis=0)
    for corner in CORNERS:
        _draw_corner(axes, corner, places, angles[corner])
    for side, ends in SIDES.items():
        if distances:
            _draw_side(axes, places[ends[0]], places[ends[1]], middle, f"{distances[side]:.1f}")
    said = "drawn from the most probable angles" + ("; at the sides: mean L2 distances" if distances else "")
    figure.supxlabel(said, fontsize=6, color=SOFT)
    axes.autoscale_view()
    return figure


def corners(angles: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Where the corners lie: noise at the origin, image to the right of it and latent above; the longest side is 1.

    By the law of sines. Of a triangle with an angle of 180° nothing else is known: that corner is put in the middle.
    """
    if not math.isclose(sum(angles.values()), 180, abs_tol=1e-6) or min(angles.values()) < 0:
        raise ValueError(f"the angles of a triangle add up to 180°, not {dict(angles)}")
    opposite = {corner: math.sin(math.radians(angle)) for corner, angle in angles.items()}
    if max(opposite.values()) < 1e-9:
        opposite = {corner: 1.0 if angle > 90 else 0.5 for corner, angle in angles.items()}
    longest = max(opposite.values())
    at_noise, to_latent = math.radians(angles["noise"]), opposite["image"] / longest
    return {
        "noise": np.zeros(2),
        "image": np.array([opposite["latent"] / longest, 0.0]),
        "latent": to_latent * np.array([math.cos(at_noise), math.sin(at_noise)]),
    }


def _draw_corner(axes: Axes, corner: str, places: Mapping[str, np.ndarray], angle: float) -> None:
    """A marker, the arc of the angle, and outside of the triangle its name and size."""
    place, colour_marker = places[corner], LOOKS[corner]
    to_others = [places[other] - place for other in CORNERS if other != corner]
    colour, marker = colour_marker
    directions = sorted(math.degrees(math.atan2(y, x)) % 360 for x, y in to_others)
    start, end = directions if directions[1] - directions[0] <= 180 else (directions[1], directions[0] + 360)
    size = 0.4 * min([0.6, *(float(np.hypot(*way)) for way in to_others)])
    axes.add_patch(Arc(tuple(place), size, size, theta1=start, theta2=end, color=colour))
    axes.plot(*place, marker=marker, color=colour, markersize=5, clip_on=False)
    outward = math.radians((start + end) / 2 + 180)
    _write(axes, place, (math.cos(outward), math.sin(outward)), f"{LABELS[corner]}\n{_degrees(angle)}", 7)


def _write(axes: Axes, place: np.ndarray, direction: tuple[float, float], text: str, points: float) -> None:
    """Text beside a place, in a direction from it."""
    x, y = direction
    axes.annotate(
        text,
        tuple(place),
        (points * x, points * y),
        textcoords="offset points",
        horizontalalignment="left" if x > 0.3 else "right" if x < -0.3 else "center",
        verticalalignment="bottom" if y > 0.3 else "top" if y < -0.3 else "center",
        annotation_clip=False,
    )


def _draw_side(axes: Axes, start: np.ndarray, end: np.ndarray, middle: np.ndarray, text: str) -> None:
    """Text along a side, on the side's outer side."""
    left, right = sorted((start, end), key=lambda place: place[0])
    slope = math.degrees(math.atan2(*(right - left)[::-1]))
    normal = np.array([-math.sin(math.radians(slope)), math.cos(math.radians(slope))])
    above = normal @ ((start + end) / 2 - middle) > 0
    axes.annotate(
        text,
        tuple((start + end) / 2),
        tuple((3 if above else -3) * normal),
        textcoords="offset points",
        rotation=slope,
        rotation_mode="anchor",
        horizontalalignment="center",
        verticalalignment="bottom" if above else "top",
        annotation_clip=False,
    )


def _degrees(angle: float) -> str:
    """As whole degrees where it is whole, else with a decimal (of a mean over seeds)."""
    return f"{angle:.0f}°" if math.isclose(angle, round(angle), abs_tol=1e-6) else f"{angle:.1f}°"
