"""What runs inside a job: small callables that are pickled with their arguments and find their own state."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from configs.errors import UserError
from configs.schema import Experiment
from records import lock
from records.atomic import write_text
from records.layout import checkpoint_minutes_file, experiment_folder, saved_steps, seed_folder
from train.run_folder import is_trained

SECONDS_BETWEEN_LOOKS = 0.5


@dataclass(frozen=True)
class Launcher:
    """The launching process of a local job, known by the lock that it holds."""

    lock: Path
    holder: str

    def exit_with_launcher(self) -> None:
        """From now on this process ends when the launcher has: nothing goes on unseen, and nothing is lost by it."""
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while lock.is_held_by(self.lock, self.holder):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)


@dataclass(frozen=True)
class Work:
    """A job's work on an experiment. Calling it returns what went wrong in a sentence, or ""."""

    experiment: Experiment
    threads: int  # CPU threads; 0: as many as there are cores

    def __call__(self, launcher: Launcher | None = None) -> str:
        if launcher is not None:
            launcher.exit_with_launcher()
        try:
            self.begin()
        except UserError as error:
            return str(error)
        return ""

    def begin(self) -> None:
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        self.run()

    def run(self) -> None:
        raise NotImplementedError

    def progress(self) -> int:
        """A number that grows with what is done of the work and kept."""
        return 0


@dataclass(frozen=True)
class Train(Work):
    """Trains a seed, or goes on with it."""

    seed: int

    def run(self) -> None:
        from train.trainer import train

        train(replace(self.experiment, seed=self.seed))

    def progress(self) -> int:
        return max(saved_steps(seed_folder(self.experiment, self.seed).state), default=-1)


@dataclass(frozen=True)
class Analyse(Work):
    """Generates and measures what is missing of some checkpoints; one that fails leaves the others alone."""

    seed: int
    steps: tuple[int, ...]

    def run(self) -> None:
        from analyze.analysis import SeedAnalysis
        from analyze.report.wandb_runs import publish_beginning

        analysis = SeedAnalysis(self.experiment, self.seed)
        missing = set(analysis.missing())
        todo = [step for step in self.steps if step in missing]
        started_s = time.monotonic()
        analysis.analyse(todo)
        publish_beginning(analysis)
        if todo and not analysis.failures().keys() & set(todo):
            minutes = (time.monotonic() - started_s) / 60 / len(todo)
            write_text(checkpoint_minutes_file(self.experiment, analysis.folder.name), f"{minutes:.4f}\n")

    def progress(self) -> int:
        from analyze.analysis import SeedAnalysis

        missing = set(SeedAnalysis(self.experiment, self.seed).missing())
        return sum(step not in missing for step in self.steps)


@dataclass(frozen=True)
class Collect(Work):
    """Report and W&B from all that is trained and measured; `failed` is what went wrong before."""

    failed: UserError | None = None

    def run(self) -> None:
        from analyze.study import collect
        from train.log import publish_training

        with lock.hold(experiment_folder(self.experiment) / "collect.lock", lock.describe_process("collecting"), 3600):
            for seed in self.experiment.seeds:
                if is_trained(seed_folder(self.experiment, seed), self.experiment.train.steps):
                    publish_training(self.experiment, seed)
            collect(self.experiment, self.failed)


@dataclass(frozen=True)
class SlurmJob:
    """A work inside a SLURM job, of which every process of a training calls one.

    It can be ended at any time: by a signal or a time limit, when the process ends with status 128 + signal, or by
    SIGKILL. The job's script puts it back into the queue then (`launch.slurm.submit`), and it finds what it had done.
    """

    work: Work

    def __call__(self) -> None:
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        end_at_signals()
        here = JobEnvironment()
        notes = Notes(Path(os.environ["SUBMITIT_FOLDER"]), here.job_id)
        if here.global_rank == 0:
            notes.begin(self.work.progress())
        if here.num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False)
        try:
            self.work.begin()
        except UserError as error:
            if error.status <= 128:
                notes.failed.touch()
                raise
            print(error, file=sys.stderr)
            sys.exit(error.status)


@dataclass(frozen=True)
class Notes:
    """What a SLURM job and the script around it tell each other, in files beside its log."""

    folder: Path
    job: str

    @property
    def failed(self) -> Path:
        """Is there when starting again is of no use."""
        return self.folder / f"{self.job}_failed"

    @property
    def restarts(self) -> Path:
        """A line for each restart since the work last got further."""
        return self.folder / f"{self.job}_restarts"

    @property
    def progress(self) -> Path:
        return self.folder / f"{self.job}_progress"

    def begin(self, progress: int) -> None:
        """Forgets the restarts before this one where the work got further since the last."""
        if self.progress.exists() and self.progress.read_text(encoding="utf-8") != str(progress):
            self.restarts.unlink(missing_ok=True)
        write_text(self.progress, str(progress))


def end_at_signals() -> None:
    """SIGTERM and SIGUSR2 end this process at once from now on, with status 128 + signal.

    An exception in their place would come up inside whatever runs, and a library may make another one of it, which
    says that a sound file is damaged. Nothing is lost: what is being written is written aside.
    """
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, _frame: os._exit(128 + number))
