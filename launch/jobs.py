"""What runs inside a job: small callables that are pickled with their arguments and find their own state."""

import os
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import UserError
from configs.schema import Experiment
from records import lock

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Launcher:
    """The launching process of a local job, known by the lock that it holds."""

    lock: Path
    holder: str

    def outlives_me(self) -> None:
        """From now on this process ends when the launcher has: nothing goes on unseen, and nothing is lost by it."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while lock.is_held_by(self.lock, self.holder):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)


@dataclass(frozen=True)
class Work:
    """A job's work on one seed of an experiment. Calling it returns what went wrong in a sentence, or ""."""

    experiment: Experiment
    seed: int
    threads: int  # CPU threads; 0: as many as there are cores

    def __call__(self, launcher: Launcher | None = None) -> str:
        import torch

        if launcher is not None:
            launcher.outlives_me()
        if self.threads:
            torch.set_num_threads(self.threads)
        try:
            self.run()
        except UserError as error:
            return str(error)
        return ""

    def run(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class Train(Work):
    """Trains a seed, or goes on with it."""

    def run(self) -> None:
        from train.trainer import train

        train(replace(self.experiment, seed=self.seed))


@dataclass(frozen=True)
class Analyse(Work):
    """Generates and measures what is missing of some checkpoints."""

    steps: tuple[int, ...]

    def run(self) -> None:
        from analyze.analysis import SeedAnalysis

        SeedAnalysis(self.experiment, self.seed).analyse(self.steps)
