"""What training says of itself: train.jsonl, speed.jsonl and the W&B run.

`train.jsonl` holds what the run is: the same, byte for byte, however often it was interrupted. `speed.jsonl`
holds what depends on the machine. W&B shows both.
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
from records.tracking.publish import note_published, open_unpublished, publish
from records.tracking.runs import RunSpec


class TrainingLog:
    """The log of the one process that writes; other processes have none."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, step: int):
        """Takes up the log at `step`: what was said beyond it was said by steps that will be done again."""
        self.experiment, self.folder = experiment, folder
        self.files = (folder.log, folder.speed)
        for file in self.files:
            kept = [point for point in read_points(file) if point["step"] <= step]
            write_text(file, "".join(json.dumps(point) + "\n" for point in kept))
        self.of = _run_of(experiment, folder)
        self.tracked = open_unpublished(self.of)
        for point in _points(folder):
            self.tracked.log(point, partial(_samples, folder, point["step"]))

    def write(self, point: Point, speed: Point) -> None:
        """A line in each file and a point in W&B, with the grid of samples where that step has one."""
        for file, line in zip(self.files, (point, {"step": point["step"], **speed}), strict=True):
            _append(file, line)
        self.tracked.log(speed | point, partial(_samples, self.folder, point["step"]))

    def sync(self) -> None:
        """Returns when all that was written is on the disk."""
        for file in self.files:
            with open(file, "a") as opened:
                os.fsync(opened.fileno())

    def finish(self) -> None:
        self.tracked.finish(partial(_conclude, self.experiment, self.folder))
        note_published(self.of, self.tracked, _points(self.folder))

    def leave(self) -> None:
        """After an interruption, or any other end that is not the last step."""
        self.tracked.leave()


def publish_training(experiment: Experiment, seed: int) -> None:
    """Sends W&B what it lacks of a seed that is trained: where it failed meanwhile, or the run was logged offline."""
    folder = seed_folder(experiment, seed)
    of = _run_of(replace(experiment, seed=seed), folder)
    publish(of, lambda: _points(folder), partial(_samples, folder), partial(_conclude, experiment, folder))


def _run_of(experiment: Experiment, folder: SeedFolder) -> RunSpec:
    return RunSpec(experiment, experiment.seed, "train", folder.root, experiment.name)


def _points(folder: SeedFolder) -> list[Point]:
    """The points of a run, each with the speed that it was made at."""
    speeds = {point["step"]: point for point in read_points(folder.speed)}
    return [speeds.get(point["step"], {}) | point for point in read_points(folder.log)]


def _samples(folder: SeedFolder, step: int) -> Point:
    file = folder.sample_grid(step)
    return {"samples": wandb.Image(str(file))} if file.exists() else {}


def _conclude(experiment: Experiment, folder: SeedFolder, run: wandb.Run) -> None:
    run.log_artifact(checkpoints_artifact(experiment, folder))


def _append(file: Path, line: Point) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")
