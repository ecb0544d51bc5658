"""Publication of points in files as a W&B run: sent once, however often it is requested."""

import hashlib
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from records import lock
from records.atomic import write_text
from records.tracking.login import resolved_mode
from records.tracking.points import STEP, Point
from records.tracking.runs import REMEDY, RunSpec, TrackedRun, open_run, supersede

LOCK_TIMEOUT_S = 1800.0  # wait for another job that sends points


def publish(
    spec: RunSpec,
    points: Callable[[], Sequence[Point]],
    pictures: Callable[[int], Point],
    conclude: Callable[[Any], None],
) -> None:
    """Log `points` in the order of steps unless exactly these points were published; one process at a time.

    Prints a warning and sends nothing if another process does not stop sending.
    """
    if _is_published(spec, points()):
        return
    try:
        with lock.hold(spec.folder / "wandb.lock", lock.describe_process("sending to W&B"), LOCK_TIMEOUT_S):
            current = points()  # another process may have added points meanwhile
            if not _is_published(spec, current):
                _send(spec, current, pictures, conclude)
    except lock.Busy as holder:
        print(
            f"warning: another process still sends points of {spec.name} to W&B ({holder}); {REMEDY}", file=sys.stderr
        )


def open_unpublished(spec: RunSpec) -> TrackedRun:
    """Open a run that counts as incomplete until `mark_published`."""
    _marker(spec).unlink(missing_ok=True)
    return open_run(spec)


def mark_published(spec: RunSpec, tracked: TrackedRun, points: Sequence[Point]) -> None:
    """Record that a finished run contains exactly these points, unless W&B failed or is disabled."""
    if tracked.mode != "disabled" and not tracked.failure:
        write_text(_marker(spec), f"{tracked.mode} {_digest(points)}")


def _marker(spec: RunSpec) -> Path:
    """Return the file with the mode and the digest of the published points."""
    return spec.folder / "wandb_published"


def _is_published(spec: RunSpec, points: Sequence[Point]) -> bool:
    mode, marker, digest = resolved_mode(spec.experiment), _marker(spec), _digest(points)
    published = marker.read_text(encoding="utf-8", errors="replace") if marker.exists() else ""
    return not points or mode == "disabled" or published in (f"{mode} {digest}", f"online {digest}")


def _digest(points: Sequence[Point]) -> str:
    return hashlib.sha256("\n".join(map(json.dumps, points)).encode()).hexdigest()


def _send(
    spec: RunSpec, points: Sequence[Point], pictures: Callable[[int], Point], conclude: Callable[[Any], None]
) -> None:
    """Log points to the run, or to a new run if the points of the earlier one have changed.

    Points change if measures do, or if they compare with a checkpoint that is no longer the last one.
    """
    log, lines = spec.folder / "wandb.jsonl", [json.dumps(point) for point in points]
    sent = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    if sent != lines[: len(sent)]:
        supersede(spec)
    write_text(log, "".join(f"{line}\n" for line in lines))
    tracked = open_unpublished(spec)
    try:
        for point in points:
            tracked.log(point, partial(pictures, point[STEP]))
        tracked.finish(conclude)
    finally:
        tracked.abort()
    mark_published(spec, tracked, points)
