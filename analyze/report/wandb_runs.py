"""The analysis of a seed, or of a model, as one W&B run: every curve, pictures, and the paper's tables."""

import csv
import dataclasses
import functools
import io
import itertools
from collections.abc import Sequence

import wandb

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from analyze.generations import Generations
from analyze.model import ModelAnalysis
from analyze.report.paper_tables import tables
from analyze.report.table_formats import Table, to_csv
from configs.checks import checkpoint_steps
from configs.schema import ModelStudy
from records.layout import experiment_folder
from records.pictures import LATENT_RANGE, strip
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.points import Point
from records.tracking.publish import publish
from records.tracking.runs import RunSpec, resolved_mode


def publish_analysis(analysis: SeedAnalysis) -> None:
    """Logs the points of a seed's analysis in the order of steps, unless just these were logged before."""
    pictures = functools.partial(_pictures_at, analysis)
    publish(_run_of(analysis), lambda: seed_points(analysis), pictures, lambda run: _conclude(analysis, run))


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

    publish(_run_of(analysis), points, functools.partial(_pictures_at, analysis), lambda run: None)


def _pictures_at(analysis: SeedAnalysis, step: int) -> Point:
    return _pictures(analysis.generations(step))


def publish_model(study: ModelStudy, analyses: Sequence[ModelAnalysis], made: Sequence[Table]) -> None:
    """Logs the points of a model, one for each T, which stands in the place of the training step, and its tables."""
    by_steps = {one.last_step: one for one in analyses}
    publish(
        RunSpec(study, None, "model", experiment_folder(study), study.name),
        lambda: [point for one in analyses for point in seed_points(one)],
        lambda step: _pictures(by_steps[step].generations(step)),
        lambda run: run.summary.update({f"tables/{table.name}": _as_wandb(table, 0) for table in made}),
    )


def _run_of(analysis: SeedAnalysis) -> RunSpec:
    """Its identity is kept with this way of analysing, and its group is that of the other seeds' same way."""
    group = f"{analysis.experiment.name} {analysis.folder.name}"
    return RunSpec(analysis.experiment, analysis.seed, "analysis", analysis.folder, group)


def _pictures(here: Generations) -> Point:
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
