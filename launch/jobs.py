"""Work of a job: callables that are pickled with their arguments and find their state on disk."""

import os
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from configs.errors import UserError
from configs.schema import Experiment, ModelStudy
from records import lock
from records.atomic import write_text
from records.layout import checkpoint_minutes_file, experiment_folder, saved_steps, seed_folder
from records.run_lock import SAVE_S

POLL_INTERVAL_S = 0.5
COLLECT_TIMEOUT_S = 3600.0  # wait for another process that writes the report


@dataclass(frozen=True)
class Launcher:
    """The launching process of a local job, identified by the lock it holds, and the GPU that it assigns to the job."""

    lock: Path
    holder: str
    gpu: str = ""  # as in CUDA_VISIBLE_DEVICES; "": none
    process: int = field(default_factory=os.getpid)

    def show_gpu(self) -> None:
        """Make the assigned GPU the only one that this process sees, before it uses any."""
        os.environ["CUDA_VISIBLE_DEVICES"] = self.gpu

    def exit_with_launcher(self, grace_s: int = 0) -> None:
        """End this process when the launcher ends, so that no job keeps running unnoticed.

        With `grace_s`, SIGTERM first asks it to save its state and stop.
        """
        threading.Thread(target=self._watch, args=(grace_s,), daemon=True).start()

    def _watch(self, grace_s: int) -> None:
        # A file system may have no locks, and a process that ended exists until its parent has noticed.
        while lock.is_held_by(self.lock, self.holder) and _exists(self.process):
            time.sleep(POLL_INTERVAL_S)
        for _ in range(grace_s):  # more than once, because submitit ignores it until the training handles it
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        os._exit(1)


def _exists(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@dataclass(frozen=True)
class Work:
    """Work on a study, done by one job."""

    kind: ClassVar[str]  # part of the SLURM job name
    trains: ClassVar[bool] = False  # by several processes, on all GPUs of a node; other work is one process
    uses_gpu: ClassVar[bool] = True
    unit: ClassVar[str] = ""  # of its size

    study: Experiment | ModelStudy
    threads: int  # CPU threads; 0: all cores

    @property
    def group(self) -> str:
        """Part of the SLURM job name after the kind; jobs of one kind and group can be an array."""
        return ""

    @property
    def size(self) -> int:
        return 1

    def record(self) -> dict[str, Any]:
        """Return the fields of `launch.slurm.submissions.Task` that describe this work."""
        return {}

    def __call__(self, launcher: Launcher | None = None) -> str:
        """Do the work and return the error message, or "" on success."""
        if launcher is not None:
            launcher.exit_with_launcher(SAVE_S if self.trains else 0)
            launcher.show_gpu()
        try:
            self.run()
        except UserError as error:
            return str(error)
        return ""

    def run(self) -> None:
        """Do the work. Raises UserError if it fails."""
        import torch

        if self.threads:
            torch.set_num_threads(self.threads)
        self._run()

    def _run(self) -> None:
        raise NotImplementedError

    def progress(self) -> int:
        """Return a number that grows whenever a part of the work is finished and saved."""
        return 0


@dataclass(frozen=True)
class SeedWork(Work):
    """Work on one seed of an experiment."""

    study: Experiment
    seed: int

    @property
    def group(self) -> str:
        return f"seed-{self.seed}"


@dataclass(frozen=True)
class Train(SeedWork):
    """Start or resume the training of a seed."""

    kind = "train"
    trains = True

    def _run(self) -> None:
        from train.trainer import train

        train(replace(self.study, seed=self.seed))

    def progress(self) -> int:
        return max(saved_steps(seed_folder(self.study, self.seed).state), default=-1)

    def record(self) -> dict[str, Any]:
        return {"seed": self.seed, "steps": [self.study.train.steps]}


@dataclass(frozen=True)
class Analyze(SeedWork):
    """Analyze those of the given checkpoints without results; a failing checkpoint does not affect the others."""

    kind = "analyse"  # the spelling of earlier versions, whose jobs may still be in the queue
    unit = "checkpoints"

    steps: tuple[int, ...]

    @property
    def size(self) -> int:
        return len(self.steps)

    def _run(self) -> None:
        from analyze.analysis import SeedAnalysis
        from analyze.report.wandb_runs import publish_beginning

        analysis = SeedAnalysis(self.study, self.seed)
        missing = set(analysis.missing())
        todo = [step for step in self.steps if step in missing]
        started_s = time.monotonic()
        analysis.analyze(todo)
        publish_beginning(SeedAnalysis(self.study, self.seed))  # with the checkpoints that were saved meanwhile
        if todo and not analysis.failures().keys() & set(todo):
            minutes = (time.monotonic() - started_s) / 60 / len(todo)
            write_text(checkpoint_minutes_file(self.study, analysis.folder.name), f"{minutes:.4f}\n")

    def progress(self) -> int:
        from analyze.analysis import SeedAnalysis

        missing = set(SeedAnalysis(self.study, self.seed).missing())
        return sum(step not in missing for step in self.steps)

    def record(self) -> dict[str, Any]:
        return {"seed": self.seed, "steps": list(self.steps)}


@dataclass(frozen=True)
class Collect(Work):
    """Write the report and publish to W&B from everything trained and analyzed so far."""

    kind = "collect"
    uses_gpu = False

    failed: UserError | None = None  # of the jobs before this one

    def _run(self) -> None:
        folder, holder = experiment_folder(self.study), lock.describe_process("collecting")
        with ExitStack() as stack:
            try:
                stack.enter_context(lock.hold(folder / "collect.lock", holder, COLLECT_TIMEOUT_S))
            except lock.Busy as other:
                raise UserError(
                    f"the report of {folder} is still being written by another process ({other}); rerun this command "
                    "when it has ended"
                ) from None
            self._collect()

    def _collect(self) -> None:
        raise NotImplementedError


@dataclass(frozen=True)
class CollectExperiment(Collect):
    """Collect the results of an experiment, and publish its trainings."""

    study: Experiment

    def _collect(self) -> None:
        from analyze.report.study import collect
        from train.log import publish_training

        for seed in self.study.seeds:
            if seed_folder(self.study, seed).is_trained(self.study.train.steps):
                publish_training(self.study, seed)
        collect(self.study, self.failed)

    def record(self) -> dict[str, Any]:
        return {"steps": [self.study.train.steps]}
