"""Points of curves in JSON Lines files: one point per line; an interrupted write leaves an incomplete last line."""

import json
from pathlib import Path
from typing import Any

from configs.errors import UserError

LONGEST_POINT_BYTES = 16_384
STEP = "step"  # training step, the x axis of all curves
Point = dict[str, Any]  # {"step": 50, "loss": 0.1, …}; values that are not numbers are W&B media


def last_step(file: Path) -> int:
    """Return the step of the last complete point of a log, 0 without points; read only the end of the file.

    Raises UserError if this point is damaged.
    """
    if not file.exists():
        return 0
    with open(file, "rb") as log:
        log.seek(max(0, file.stat().st_size - LONGEST_POINT_BYTES))
        lines = [line for line in log.read().split(b"\n")[:-1] if line]
    return _parse(lines[-1], f"{file}, last line")[STEP] if lines else 0


def read_points(file: Path) -> list[Point]:
    """Return the points of a log, without an incomplete last line. Raises UserError if another line is damaged."""
    if not file.exists():
        return []
    lines = file.read_bytes().split(b"\n")[:-1]
    return [_parse(line, f"{file}, line {number}") for number, line in enumerate(lines, start=1) if line]


def _parse(line: bytes, location: str) -> Point:
    """Parse a point. Raises UserError if it is damaged, as by a disk that was full."""
    try:
        point = json.loads(line)
        if isinstance(point, dict) and isinstance(point[STEP], int) and point[STEP] >= 0:
            return point
    except (ValueError, KeyError, RecursionError):
        pass
    raise UserError(f"{location} is damaged; remove this line and rerun the command")
