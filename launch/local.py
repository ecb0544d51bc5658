"""Local jobs in the foreground, as processes of submitit's local executor."""

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from graphlib import TopologicalSorter
from pathlib import Path

import submitit
import torch
from submitit.core.utils import pickle_load

from configs.errors import UserError, first_line
from configs.schema import Cluster
from launch.jobs import Launcher
from launch.plan import Job

POLL_INTERVAL_S = 0.2
NO_TIME_LIMIT_MIN = 10 * 365 * 24 * 60  # submitit requires a limit


@dataclass
class LocalRun:
    """Runs jobs as processes on this machine, at most `max_parallel` at a time, in the order of their dependencies."""

    cluster: Cluster
    folder: Path
    launcher: Launcher
    running: dict[str, tuple[submitit.Job, int]] = field(default_factory=dict)  # by name: process and slot
    failures: dict[str, str] = field(default_factory=dict)  # error messages by name

    def run(self, jobs: list[Job], on_poll: Sequence[Callable[[], None]]) -> None:
        """Run all jobs except those that need a failed one, and call all of `on_poll` several times per second.

        Raises UserError, after all other jobs have ended, if any failed.
        """
        by_name = {job.name: job for job in jobs}
        position = {job.name: index for index, job in enumerate(jobs)}
        order = TopologicalSorter({job.name: job.needs for job in jobs})
        order.prepare()
        ready: list[str] = []
        while order.is_active():
            order.done(*self._collect_successes())
            ready = sorted([*ready, *order.get_ready()], key=position.__getitem__)
            while ready and len(self.running) < self.cluster.max_parallel:
                self._start(by_name[ready.pop(0)])
            if not self.running:
                break  # complete, or the remaining jobs need a failed one
            for callback in on_poll:
                callback()
            time.sleep(POLL_INTERVAL_S)
        if self.failures:
            raise UserError("; ".join(f"{name}: {message}" for name, message in self.failures.items()))

    def _start(self, job: Job) -> None:
        slot = min(set(range(self.cluster.max_parallel)) - {slot for _, slot in self.running.values()})
        gpus = visible_gpus()
        launcher = replace(self.launcher, gpu=gpus[slot % len(gpus)] if gpus else "")
        # One folder per job: submitit names files by process id, and the system reuses those.
        executor = submitit.LocalExecutor(self.folder / f"{job.name.replace(' ', '_')}-{uuid.uuid4().hex[:8]}")
        executor.update_parameters(timeout_min=NO_TIME_LIMIT_MIN)
        os.environ["OMP_NUM_THREADS"] = str(job.work.threads)  # inherited by the job; its libraries read it on import
        with ignore_sigint():
            self.running[job.name] = executor.submit(job.work, launcher), slot

    def _collect_successes(self) -> list[str]:
        """Remove ended jobs from `running`, record failures, and return the names of the jobs that succeeded."""
        ended = [(name, process) for name, (process, _) in self.running.items() if process.done()]
        errors = {name: error_message(process) for name, process in ended}
        for name in errors:
            del self.running[name]
        self.failures |= {name: message for name, message in errors.items() if message}
        return [name for name, message in errors.items() if not message]


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, by number or UUID as in CUDA_VISIBLE_DEVICES."""
    count, named = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Start processes that do not receive Ctrl-C from the terminal; they end quietly with the launcher instead."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def error_message(job: submitit.Job) -> str:
    """Return why an ended job failed, in one sentence that names its log, or "" if it succeeded."""
    log = f"(log: {job.paths.stderr})"
    if not job.paths.result_pickle.exists():
        return f"the process died {log}"
    succeeded, content = outcome(job.paths.result_pickle)
    return content if succeeded else f"{content} {log}"


def outcome(result_pickle: Path) -> tuple[bool, str]:
    """Return whether a job returned, with what it returned or the last line of its error.

    Unpickling may run code, like the job that wrote the file.
    """
    try:
        state, content = pickle_load(result_pickle)
    except Exception as error:  # a damaged pickle raises many types
        return False, f"{result_pickle} is damaged: {first_line(error)}"
    return state == "success", content if state == "success" else content.strip().splitlines()[-1]
