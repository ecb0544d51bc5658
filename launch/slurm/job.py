"""Work inside a SLURM job, and the files it shares with the job's batch script."""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError, exit_on_signal
from launch.jobs import Work
from records.atomic import write_text

FIRST_PORT, PORTS = 10_000, 20_000


@dataclass(frozen=True)
class SlurmJob:
    """A callable that does its work inside a SLURM job; every process of a training job calls a copy.

    The job may be interrupted at any time: by SIGKILL, or by another signal (time limit, preemption), which ends the
    process with status 128 + signal. The batch script then requeues the job (`requeue.sh`) and the work resumes.
    """

    work: Work

    def __call__(self) -> None:
        from submitit import JobEnvironment

        for number in (signal.SIGTERM, signal.SIGUSR2):
            exit_on_signal(number)
        environment = JobEnvironment()
        environment.paths.result_pickle.unlink(missing_ok=True)  # of this process before the job was requeued
        files = JobFiles(environment.paths.folder, environment.job_id)
        if environment.global_rank == 0:
            files.record_progress(self.work.progress())
        if environment.num_tasks > 1:
            meet_other_processes()
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


def meet_other_processes() -> None:
    """Set the variables with which torch.distributed connects the processes of this job."""
    from submitit.helpers import TorchDistributedEnvironment

    TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
    os.environ["MASTER_PORT"] = str(rendezvous_port(int(os.environ["SLURM_JOB_ID"])))


def rendezvous_port(job_id: int) -> int:
    """Return the port at which the processes of a job meet: another one for each of 20,000 consecutive jobs.

    submitit draws a port at random, or takes MASTER_PORT of the launching shell, so that two jobs on one node could use
    the same. The range is below the ports that Linux gives to outgoing connections.
    """
    return FIRST_PORT + job_id % PORTS
