"""The local cluster: submitit's local executor, in the foreground."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import submitit
import torch
from submitit.core.utils import pickle_load

from configs.errors import UserError
from configs.schema import Cluster
from launch.jobs import Launcher
from launch.plan import Job

SECONDS_BETWEEN_LOOKS = 0.2
Look = Callable[[], None]


@dataclass
class LocalRun:
    """Runs jobs as processes of this machine, at most `max_parallel` at a time and each after those it needs."""

    cluster: Cluster
    folder: Path
    launcher: Launcher
    running: dict[str, tuple[submitit.Job, int]] = field(default_factory=dict)  # by name: the process and its slot
    failures: dict[str, str] = field(default_factory=dict)  # by name, of jobs that ended badly or could not start
    done: set[str] = field(default_factory=set)

    def run(self, jobs: list[Job], looks: Sequence[Look]) -> None:
        """Runs all jobs, with all `looks` several times a second; raises UserError, at the end, where any failed."""
        waiting = list(jobs)
        while waiting or self.running:
            self._collect_ended()
            for job in list(waiting):
                if self.failures.keys() & set(job.needs):
                    self.failures[job.name] = ""  # told by the job that it waited for
                    waiting.remove(job)
                elif set(job.needs) <= self.done and len(self.running) < self.cluster.max_parallel:
                    self._start(job)
                    waiting.remove(job)
            for look in looks:
                look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
        told = [f"{name}: {why}" for name, why in self.failures.items() if why]
        if told:
            raise UserError("; ".join(told))

    def _start(self, job: Job) -> None:
        slot = min(set(range(self.cluster.max_parallel)) - {slot for _, slot in self.running.values()})
        gpus = torch.cuda.device_count()
        # A folder for each job: submitit names its files by the process number, which comes again one day.
        executor = submitit.LocalExecutor(self.folder / f"{job.name.replace(' ', '_')}-{uuid.uuid4().hex[:8]}")
        executor.update_parameters(
            timeout_min=self.cluster.timeout_hours * 60,
            gpus_per_node=1 if gpus else 0,
            visible_gpus=[slot % gpus] if gpus else [],
        )
        os.environ["OMP_NUM_THREADS"] = str(job.work.threads)  # read by the job's libraries when they are loaded
        with ignore_sigint():
            self.running[job.name] = executor.submit(job.work, self.launcher), slot

    def _collect_ended(self) -> None:
        for name, (process, _) in list(self.running.items()):
            if process.done():
                del self.running[name]
                failure = outcome(process)
                if failure:
                    self.failures[name] = failure
                else:
                    self.done.add(name)


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """What is started meanwhile never hears of Ctrl-C in their terminal: it ends with the launcher, and quietly."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def outcome(job: submitit.Job) -> str:
    """What went wrong in a job that has ended, in a sentence that names its log, or ""."""
    log = f"(log: {job.paths.stderr})"
    if not job.paths.result_pickle.exists():
        return f"the process died {log}"
    kind, content = pickle_load(job.paths.result_pickle)
    return content if kind == "success" else f"{content.strip().splitlines()[-1]} {log}"
