"""Training logs: train.jsonl, speed.jsonl and the W&B run.

`train.jsonl` holds losses and other results; it is byte for byte the same however often the run was interrupted.
`speed.jsonl` holds values that depend on the machine. W&B shows both.
"""

import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import wandb

from configs.schema import Experiment
from records.atomic import write_text
from records.layout import SeedFolder, seed_folder
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.points import Point, read_points
from records.tracking.publish import mark_published, open_unpublished, publish
from records.tracking.runs import RunSpec


class TrainingLog:
    """Log of a training run, written by its main process only."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, step: int):
        """Open the log at `step` and remove the points of later steps, which will be trained again."""
        self.experiment, self.folder = experiment, folder
        self.files = (folder.log, folder.speed)
        for file in self.files:
            points = [point for point in read_points(file) if point["step"] <= step]
            write_text(file, "".join(json.dumps(point) + "\n" for point in points))
        self.run_spec = _run_spec(experiment, folder)
        self.tracked_run = open_unpublished(self.run_spec)

    def replay(self) -> None:
        """Log the points of the files that the W&B run misses."""
        for point in _points(self.folder):
            self.tracked_run.log(point, partial(_samples, self.folder, point["step"]))

    def write(self, point: Point, speed: Point) -> None:
        """Append a line to each file and log a point to W&B, with the sample grid if the step has one."""
        for file, line in zip(self.files, (point, {"step": point["step"], **speed}), strict=True):
            _append(file, line)
        self.tracked_run.log(speed | point, partial(_samples, self.folder, point["step"]))

    def sync(self) -> None:
        """Flush both files to disk."""
        for file in self.files:
            with open(file, "a") as opened:
                os.fsync(opened.fileno())

    def finish(self) -> None:
        """Finish the W&B run after the last step, with the checkpoints as an artifact."""
        self.tracked_run.finish(partial(_log_artifact, self.experiment, self.folder))
        mark_published(self.run_spec, self.tracked_run, _points(self.folder))

    def abort(self) -> None:
        """End the W&B run as interrupted; do nothing if it is finished."""
        self.tracked_run.abort()


def publish_training(experiment: Experiment, seed: int) -> None:
    """Send a trained seed to W&B if points are missing there, because W&B failed or the run was logged offline."""
    folder = seed_folder(experiment, seed)
    run_spec = _run_spec(replace(experiment, seed=seed), folder)
    publish(run_spec, lambda: _points(folder), partial(_samples, folder), partial(_log_artifact, experiment, folder))


def _run_spec(experiment: Experiment, folder: SeedFolder) -> RunSpec:
    return RunSpec(experiment, experiment.seed, "train", folder.root, experiment.name)


def _points(folder: SeedFolder) -> list[Point]:
    """Return the points of train.jsonl, each merged with the speed of its step."""
    speeds = {point["step"]: point for point in read_points(folder.speed)}
    return [speeds.get(point["step"], {}) | point for point in read_points(folder.log)]


def _samples(folder: SeedFolder, step: int) -> Point:
    file = folder.sample_grid(step)
    return {"samples": wandb.Image(str(file))} if file.exists() else {}


def _log_artifact(experiment: Experiment, folder: SeedFolder, run: wandb.Run) -> None:
    run.log_artifact(checkpoints_artifact(experiment, folder))


def _append(file: Path, line: Point) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")
