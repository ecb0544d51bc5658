"""What files hold and a W&B run is to show: sent once, however often that is asked for."""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from records import lock
from records.atomic import write_text
from records.tracking.points import Point
from records.tracking.runs import RunSpec, TrackedRun, open_run, resolved_mode, supersede

LONGEST_WAIT_S = 1800.0  # for another job that sends its points


def publish(
    of: RunSpec,
    points: Callable[[], Sequence[Point]],
    pictures: Callable[[int], Point],
    conclude: Callable[[Any], None],
) -> None:
    """Logs points in the order of steps, one process at a time, unless just these were logged before."""
    if _is_news(of, _lines(points())):
        with lock.hold(of.folder / "wandb.lock", lock.describe_process("sending to W&B"), LONGEST_WAIT_S):
            now = points()  # there may be more by now
            if _is_news(of, _lines(now)):
                _send(of, now, pictures, conclude)


def open_unpublished(of: RunSpec) -> TrackedRun:
    """Opens a run that is not taken for complete until `note_published` says so: offline, it is written anew."""
    _marker(of).unlink(missing_ok=True)
    return open_run(of)


def note_published(of: RunSpec, tracked: TrackedRun, points: Sequence[Point]) -> None:
    """Notes that a run, which was finished, shows just these points; not where W&B failed or is off."""
    if tracked.mode != "disabled" and not tracked.failure:
        write_text(_marker(of), f"{tracked.mode} {_digest(_lines(points))}")


def _lines(points: Sequence[Point]) -> list[str]:
    return [json.dumps(point) for point in points]


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _marker(of: RunSpec) -> Path:
    """Says which points W&B has, and whether online."""
    return of.folder / "wandb_published"


def _is_news(of: RunSpec, lines: Sequence[str]) -> bool:
    mode, marker, digest = resolved_mode(of.experiment), _marker(of), _digest(lines)
    published = marker.read_text(encoding="utf-8") if marker.exists() else ""
    return bool(lines) and mode != "disabled" and published not in (f"{mode} {digest}", f"online {digest}")


def _send(
    of: RunSpec, points: Sequence[Point], pictures: Callable[[int], Point], conclude: Callable[[Any], None]
) -> None:
    """Logs points.

    A run that lacks only the last ones goes on. One that shows other points than these is superseded: measures were
    changed, or compare with a checkpoint that is not the last any more, and W&B keeps what it was sent.
    """
    said, lines = of.folder / "wandb.jsonl", _lines(points)
    before = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
    if before != lines[: len(before)]:
        supersede(of)
    write_text(said, "".join(f"{line}\n" for line in lines))
    tracked = open_unpublished(of)
    try:
        for point in points:
            tracked.log(point, partial(pictures, point["step"]))
        tracked.finish(conclude)
    finally:
        tracked.leave()
    note_published(of, tracked, points)
