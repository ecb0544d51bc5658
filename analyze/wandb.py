"""The analysis of a seed, or of a model, as one W&B run: every curve, pictures, and the paper's tables."""

import csv
import dataclasses
import functools
import hashlib
import io
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import wandb

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from analyze.model import ModelAnalysis
from analyze.table_formats import Table, to_csv
from analyze.tables import tables
from analyze.tensors import Tensors
from configs.checks import checkpoint_steps
from configs.schema import ModelStudy
from records import lock
from records.durable import write_text
from records.layout import experiment_folder
from records.lineage import checkpoints_artifact
from records.pictures import LATENT_RANGE, strip
from records.tracking import Point, RunOf, open_run, resolved_mode, supersede

LONGEST_WAIT_S = 1800.0  # for another job that sends its points


def publish(analysis: SeedAnalysis) -> None:
    """Logs the points of a seed's analysis in the order of steps, unless just these were logged before."""
    pictures = functools.partial(_pictures_at, analysis)
    _publish(_run_of(analysis), lambda: seed_points(analysis), pictures, lambda run: _conclude(analysis, run))


def publish_beginning(analysis: SeedAnalysis) -> None:
    """Logs, online, the points before the first that is still missing: what a job does while others are at work.

    W&B takes points in the order of steps only; those after a gap follow when it is closed.
    """
    if resolved_mode(analysis.experiment) != "online":
        return
    planned = checkpoint_steps(analysis.experiment.train.checkpoints, analysis.experiment.train.steps)

    def points() -> list[Point]:
        together = zip(planned, seed_points(analysis), strict=False)
        return [point for _, point in itertools.takewhile(lambda pair: pair[0] == pair[1]["step"], together)]

    _publish(_run_of(analysis), points, functools.partial(_pictures_at, analysis), lambda run: None)


def _pictures_at(analysis: SeedAnalysis, step: int) -> Point:
    return _pictures(analysis.tensors(step))


def publish_model(study: ModelStudy, analyses: Sequence[ModelAnalysis], made: Sequence[Table]) -> None:
    """Logs the points of a model, one for each T, which stands in the place of the training step, and its tables."""
    by_steps = {one.last_step: one for one in analyses}
    _publish(
        RunOf(study, None, "model", experiment_folder(study), study.name),
        lambda: [point for one in analyses for point in seed_points(one)],
        lambda step: _pictures(by_steps[step].tensors(step)),
        lambda run: run.summary.update({f"tables/{table.name}": _as_wandb(table, 0) for table in made}),
    )


def _publish(
    of: RunOf,
    points: Callable[[], Sequence[Point]],
    pictures: Callable[[int], Point],
    conclude: Callable[[Any], None],
) -> None:
    """Logs points in the order of steps, one process at a time, unless just these were logged before."""
    if _is_news(of, _lines(points())):
        with lock.held(of.folder / "wandb.lock", lock.this_process("sending to W&B"), LONGEST_WAIT_S):
            lines = _lines(points())  # there may be more by now
            if _is_news(of, lines):
                _send(of, lines, pictures, conclude)


def _lines(points: Sequence[Point]) -> list[str]:
    return [json.dumps(point) for point in points]


def _digest(lines: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _marker(of: RunOf) -> Path:
    """Says which points W&B has, and whether online."""
    return of.folder / "wandb_published"


def _is_news(of: RunOf, lines: Sequence[str]) -> bool:
    mode, marker, digest = resolved_mode(of.experiment), _marker(of), _digest(lines)
    published = marker.read_text(encoding="utf-8") if marker.exists() else ""
    return bool(lines) and mode != "disabled" and published not in (f"{mode} {digest}", f"online {digest}")


def _send(of: RunOf, lines: list[str], pictures: Callable[[int], Point], conclude: Callable[[Any], None]) -> None:
    """Logs points, a line each.

    A run that lacks only the last ones goes on. One that shows other points than these is superseded: measures were
    changed, or compare with a checkpoint that is not the last any more, and W&B keeps what it was sent.
    """
    said = of.folder / "wandb.jsonl"
    before = said.read_text(encoding="utf-8").splitlines() if said.exists() else []
    if before != lines[: len(before)]:
        supersede(of)
    write_text(said, "".join(f"{line}\n" for line in lines))
    tracked = open_run(of)
    try:
        for point in map(json.loads, lines):
            tracked.log(point, functools.partial(pictures, point["step"]))
        tracked.finish(conclude)
    finally:
        tracked.leave()
    if not tracked.failure:
        write_text(_marker(of), f"{'online' if tracked.online else 'offline'} {_digest(lines)}")


def _run_of(analysis: SeedAnalysis) -> RunOf:
    """Its identity is kept with this way of analysing, and its group is that of the other seeds' same way."""
    group = f"{analysis.experiment.name} {analysis.folder.name}"
    return RunOf(analysis.experiment, analysis.seed, "analysis", analysis.folder, group)


def _pictures(here: Tensors) -> Point:
    shown = here.options.pictures
    return {
        "pictures/samples": wandb.Image(strip(here.images[:shown])),
        "pictures/latents": wandb.Image(strip(here["latents"][:shown], LATENT_RANGE)),
    }


def _conclude(analysis: SeedAnalysis, run: wandb.Run) -> None:
    """The paper's tables of this seed alone, which W&B puts together with other seeds', and the checkpoints used."""
    alone = dataclasses.replace(analysis.experiment, seeds=[analysis.seed])
    run.summary.update({f"tables/{table.name}": _as_wandb(table, analysis.seed) for table in tables(alone)})
    if not run.offline:  # W&B's client refuses it
        run.use_artifact(checkpoints_artifact(analysis.experiment, analysis.run))


def _as_wandb(table: Table, seed: int) -> wandb.Table:
    """A row for each T: the seed, T, ours, the published values and the differences, as numbers."""
    header, *rows = csv.reader(io.StringIO(to_csv(table)))
    numbers = [[seed, *(float(cell) if cell else None for cell in row)] for row in rows]
    return wandb.Table(columns=["seed", *header], data=numbers)
