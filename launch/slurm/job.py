"""Work inside a SLURM job, and the files it shares with the job's batch script."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from launch.jobs import Work
from records.atomic import write_text


@dataclass(frozen=True)
class SlurmJob:
    """A callable that does its work inside a SLURM job; every process of a training job calls a copy.

    The job may be interrupted at any time: by SIGKILL, or by another signal (time limit, preemption), which ends the
    process with status 128 + signal. The batch script then requeues the job (`requeue.sh`) and the work resumes.
    """

    work: Work

    def __call__(self) -> None:
        from submitit import JobEnvironment
        from submitit.helpers import TorchDistributedEnvironment

        exit_on_signals()
        environment = JobEnvironment()
        files = JobFiles(environment.paths.folder, environment.job_id)
        if environment.global_rank == 0:
            files.record_progress(self.work.progress())
        if environment.num_tasks > 1:
            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        try:
            self.work.run()
        except UserError as error:
            if error.status <= 128:
                files.failed.touch()
                raise
            print(error, file=sys.stderr)
            sys.exit(error.status)


@dataclass(frozen=True)
class JobFiles:
    """Files that a SLURM job shares with `requeue.sh`, next to its log."""

    folder: Path
    job_id: str

    @property
    def failed(self) -> Path:
        """An empty file that exists if a restart cannot help."""
        return self.folder / f"{self.job_id}_failed"

    @property
    def restarts(self) -> Path:
        """One line per interruption since the work last made progress."""
        return self.folder / f"{self.job_id}_restarts"

    @property
    def progress(self) -> Path:
        return self.folder / f"{self.job_id}_progress"

    def record_progress(self, progress: int) -> None:
        """Store the progress at the start of a job; if it changed since the previous start, reset the restarts."""
        if self.progress.exists() and self.progress.read_text(encoding="utf-8") != str(progress):
            self.restarts.unlink(missing_ok=True)
        write_text(self.progress, str(progress))


def exit_on_signals() -> None:
    """Make SIGTERM and SIGUSR2 end this process at once, with status 128 + signal.

    An exception raised by a signal handler could surface inside a library and be misreported, for example as a
    damaged file. Exiting loses nothing because all files are written atomically.
    """
    for number in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda number, _frame: os._exit(128 + number))
