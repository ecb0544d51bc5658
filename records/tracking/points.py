"""Points of curves in JSON Lines files: one point per line; an interrupted write leaves an incomplete last line."""

import json
from pathlib import Path
from typing import Any

LONGEST_POINT_BYTES = 16_384
STEP = "step"  # training step, the x axis of all curves
Point = dict[str, Any]  # {"step": 50, "loss": 0.1, …}; values that are not numbers are W&B media


def last_step(file: Path) -> int:
    """Return the step of the last complete point of a log, 0 without points; read only the end of the file."""
    if not file.exists():
        return 0
    with open(file, "rb") as log:
        log.seek(max(0, file.stat().st_size - LONGEST_POINT_BYTES))
        lines = log.read().split(b"\n")[:-1]
    return json.loads(lines[-1])[STEP] if lines else 0


def read_points(file: Path) -> list[Point]:
    """Return the points of a log, without an incomplete last line."""
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]
