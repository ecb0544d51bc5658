"""The analysis of a seed or of a model as one W&B run: all curves, pictures and the paper's tables."""

import csv
import dataclasses
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
from configs.schema import ModelStudy
from records.layout import experiment_folder
from records.pictures import LATENT_RANGE, strip
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.login import resolved_mode
from records.tracking.points import Point
from records.tracking.publish import publish
from records.tracking.runs import RunSpec


def publish_analysis(analysis: SeedAnalysis) -> None:
    """Log the points of a seed's analysis in the order of steps, unless they have already been published."""
    publish(
        _run_spec(analysis),
        lambda: seed_points(analysis),
        lambda step: _pictures(analysis.generations(step)),
        lambda run: _conclude(analysis, run),
    )


def publish_beginning(analysis: SeedAnalysis) -> None:
    """Log, if online, the points before the first missing step, while other jobs analyze further steps.

    W&B accepts points only in the order of steps; later points follow when the gap is closed.
    """
    if resolved_mode(analysis.experiment) != "online":
        return
    planned = sorted([*analysis.steps, *analysis.awaited])

    def points() -> list[Point]:
        pairs = zip(planned, seed_points(analysis), strict=False)
        return [point for _, point in itertools.takewhile(lambda pair: pair[0] == pair[1]["step"], pairs)]

    publish(_run_spec(analysis), points, lambda step: _pictures(analysis.generations(step)), lambda run: None)


def publish_model(study: ModelStudy, analyses: Sequence[ModelAnalysis], model_tables: Sequence[Table]) -> None:
    """Log the tables of a model and one point per T, with T as the step."""
    by_step = {analysis.last_step: analysis for analysis in analyses}
    publish(
        RunSpec(study, None, "model", experiment_folder(study), study.name),
        lambda: [point for analysis in analyses for point in seed_points(analysis)],
        lambda step: _pictures(by_step[step].generations(step)),
        lambda run: run.summary.update({f"tables/{table.name}": _to_wandb(table, 0) for table in model_tables}),
    )


def _run_spec(analysis: SeedAnalysis) -> RunSpec:
    """Return the run of an analysis; its group contains the other seeds with the same analysis settings."""
    group = f"{analysis.experiment.name} {analysis.folder.name}"
    return RunSpec(analysis.experiment, analysis.seed, "analysis", analysis.folder, group)


def _pictures(generations: Generations) -> Point:
    count = generations.options.pictures
    return {
        "pictures/samples": wandb.Image(strip(generations.images[:count])),
        "pictures/latents": wandb.Image(strip(generations["latents"][:count], LATENT_RANGE)),
    }


def _conclude(analysis: SeedAnalysis, run: wandb.Run) -> None:
    """Log the tables of this seed, which W&B concatenates over seeds, and the checkpoints used."""
    of_seed = dataclasses.replace(analysis.experiment, seeds=[analysis.seed])
    run.summary.update({f"tables/{table.name}": _to_wandb(table, analysis.seed) for table in tables(of_seed)})
    if not run.offline:  # the client cannot use artifacts offline
        run.use_artifact(checkpoints_artifact(analysis.experiment, analysis.run))


def _to_wandb(table: Table, seed: int) -> wandb.Table:
    """Convert a table to numbers with one row per T: seed, T, ours, published values and differences."""
    header, *rows = csv.reader(io.StringIO(to_csv(table)))
    numbers = [[seed, *(float(cell) if cell else None for cell in row)] for row in rows]
    return wandb.Table(columns=["seed", *header], data=numbers)
