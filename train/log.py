"""What training says of itself: train.jsonl, speed.jsonl and the W&B run.

`train.jsonl` holds what the run is: the same, byte for byte, however often it was interrupted. `speed.jsonl`
holds what depends on the machine. W&B shows both.
"""

import json
import os
from functools import partial
from pathlib import Path

import wandb

from configs.schema import Experiment
from records import tracking
from records.durable import write_text
from records.layout import SeedFolder
from records.lineage import checkpoints_artifact
from records.tracking import Point, RunOf, Tracked, read_points


class TrainingLog:
    """The log of the one process that writes; other processes have none."""

    def __init__(self, experiment: Experiment, folder: SeedFolder, step: int):
        """Takes up the log at `step`: what was said beyond it was said by steps that will be done again."""
        self.experiment, self.folder = experiment, folder
        self.files = (folder.log, folder.speed)
        for file in self.files:
            kept = [point for point in read_points(file) if point["step"] <= step]
            write_text(file, "".join(json.dumps(point) + "\n" for point in kept))
        of = RunOf(experiment, experiment.seed, "train", folder.root, experiment.name)
        self.tracked = self._with_history(tracking.open_run(of))

    def _with_history(self, tracked: Tracked) -> Tracked:
        log, speed = (read_points(file) for file in self.files)
        speeds = {point["step"]: point for point in speed}
        for point in log:
            tracked.log(speeds.get(point["step"], {}) | point, partial(self._samples, point["step"]))
        return tracked

    def write(self, point: Point, speed: Point) -> None:
        """A line in each file and a point in W&B, with the grid of samples where that step has one."""
        for file, line in zip(self.files, (point, {"step": point["step"], **speed}), strict=True):
            _append(file, line)
        self.tracked.log(point | speed, partial(self._samples, point["step"]))

    def _samples(self, step: int) -> Point:
        file = self.folder.sample_grid(step)
        return {"samples": wandb.Image(str(file))} if file.exists() else {}

    def sync(self) -> None:
        """Returns when all that was written is on the disk."""
        for file in self.files:
            with open(file, "a") as opened:
                os.fsync(opened.fileno())

    def finish(self) -> None:
        self.tracked.finish(lambda run: run.log_artifact(checkpoints_artifact(self.experiment, self.folder)))

    def leave(self) -> None:
        """After an interruption, or any other end that is not the last step."""
        self.tracked.leave()


def _append(file: Path, line: Point) -> None:
    with open(file, "a", encoding="utf-8") as opened:
        opened.write(json.dumps(line) + "\n")
