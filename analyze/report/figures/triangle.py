"""Triangle of noise, image and latent, drawn with its most probable angles."""

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Arc, Polygon

from analyze.report.figures.style import COLORS, COLUMN, SOFT, mathtext, new_figure, styled
from analyze.report.metrics import CORNERS

LOOKS = dict(zip(CORNERS, zip(COLORS, ("s", "o", "^"), strict=False), strict=True))
SIDES = {"noise_latent": ("noise", "latent"), "image_latent": ("image", "latent"), "image_noise": ("image", "noise")}
MIN_HEIGHT, MAX_HEIGHT = 1.3, 4.0  # inches


@styled
def draw_triangle(angles: Mapping[str, float], distances: Mapping[str, float] | None = None) -> Figure:
    """Draw the triangle with angles in degrees at noise, image and latent; they must add up to 180.

    `distances` are the mean L2 distances to write along the sides (noise_latent, image_latent, image_noise). The drawn
    sides match them only approximately, because the most probable angles are a different statistic.
    Source: the paper, Figure 2.
    """
    points = corners(angles)
    height = np.ptp([point[1] for point in points.values()])
    figure = new_figure(COLUMN, min(max(COLUMN * height + 0.8, MIN_HEIGHT), MAX_HEIGHT))
    axes = figure.add_subplot(aspect="equal")
    axes.axis("off")
    axes.margins(0.02)
    axes.add_patch(Polygon([points[corner] for corner in CORNERS], facecolor="#F2F2F2", edgecolor="black"))
    center = np.mean(list(points.values()), axis=0)
    for corner in CORNERS:
        _draw_corner(axes, corner, points, angles[corner])
    for side, (start, end) in SIDES.items():
        if distances:
            _draw_side(axes, points[start], points[end], center, f"{distances[side]:.1f}")
    note = "angles: most probable" + ("; sides: mean L2 distances" if distances else "")
    figure.supxlabel(note, fontsize=6, color=SOFT)
    axes.autoscale_view()
    return figure


def corners(angles: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Compute the corners by the law of sines: noise at the origin, image to its right, latent above, longest side 1.

    A triangle with an angle of 180° has undetermined sides; its middle corner is placed halfway.
    Raises ValueError if the angles do not add up to 180° or one is negative.
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


def _draw_corner(axes: Axes, corner: str, points: Mapping[str, np.ndarray], angle: float) -> None:
    """Draw a marker and the arc of the angle, with the label outside of the triangle."""
    point, (color, marker) = points[corner], LOOKS[corner]
    to_others = [points[other] - point for other in CORNERS if other != corner]
    directions = sorted(math.degrees(math.atan2(y, x)) % 360 for x, y in to_others)
    start, end = directions if directions[1] - directions[0] <= 180 else (directions[1], directions[0] + 360)
    size = 0.4 * min([0.6, *(float(np.hypot(*side)) for side in to_others)])
    axes.add_patch(Arc(tuple(point), size, size, theta1=start, theta2=end, color=color))
    axes.plot(*point, marker=marker, color=color, markersize=5, clip_on=False)
    outward = math.radians((start + end) / 2 + 180)
    _write(axes, point, (math.cos(outward), math.sin(outward)), f"{mathtext(CORNERS[corner])}\n{_degrees(angle)}", 7)


def _write(axes: Axes, point: np.ndarray, direction: tuple[float, float], text: str, offset: float) -> None:
    """Write text next to a point, `offset` typographic points away in a direction."""
    x, y = direction
    axes.annotate(
        text,
        tuple(point),
        (offset * x, offset * y),
        textcoords="offset points",
        horizontalalignment="left" if x > 0.3 else "right" if x < -0.3 else "center",
        verticalalignment="bottom" if y > 0.3 else "top" if y < -0.3 else "center",
        annotation_clip=False,
    )


def _draw_side(axes: Axes, start: np.ndarray, end: np.ndarray, center: np.ndarray, text: str) -> None:
    """Write text along a side, outside of the triangle."""
    left, right = sorted((start, end), key=lambda point: point[0])
    slope = math.degrees(math.atan2(*(right - left)[::-1]))
    normal = np.array([-math.sin(math.radians(slope)), math.cos(math.radians(slope))])
    above = normal @ ((start + end) / 2 - center) > 0
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
    """Format an angle without decimals if it is whole, otherwise (a mean over seeds) with one."""
    return f"{angle:.0f}°" if math.isclose(angle, round(angle), abs_tol=1e-6) else f"{angle:.1f}°"
