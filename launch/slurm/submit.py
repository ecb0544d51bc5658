"""Submission of jobs to SLURM as a few sbatch calls with dependencies, so that the launching process can exit."""

import functools
import itertools
import math
import os
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from configs.errors import UserError
from configs.schema import Cluster, Experiment, ModelStudy
from launch.jobs import Collect, Work
from launch.plan import COLLECT, Job, Queued
from launch.slurm import queue, submissions
from launch.slurm.job import SlurmJob
from launch.slurm.submissions import Submission, Task, settings_fingerprint
from launch.snapshot import environment, snapshot
from records.layout import jobs_folder

MAX_ARRAY = 1_000  # jobs of an array; SLURM refuses larger ones by default (MaxArraySize)
COMPLETING_S = 40  # a job has 30 s to end after a signal, by default (KillWait)
SURVIVE_SIGTERM = "trap : TERM  # sent by preemption; the lines after srun must still run"
SURVIVE_FAILURE = "set +e  # cluster.setup may contain set -e; the lines after srun must run if it fails"


def parameters(cluster: Cluster, work: Work) -> dict[str, Any]:
    """Return the parameters of submitit's SLURM executor for a job."""
    processes = cluster.processes_per_node or max(1, cluster.gpus_per_node) if work.trains else 1
    hours = cluster.train_timeout_hours if work.trains else None
    options = {
        "time": math.ceil(60 * (hours or cluster.timeout_hours)),
        "nodes": cluster.nodes if work.trains else 1,
        "ntasks_per_node": processes,
        "cpus_per_task": cluster.cpus_per_task,
        "mem": f"{math.ceil(1024 * cluster.memory_gb * processes)}M" if cluster.memory_gb else None,
        "gres": _gres(cluster, work),
        "partition": cluster.partition,
        "account": cluster.account,
        "qos": cluster.qos,
        "constraint": cluster.constraint,
        "exclude": cluster.exclude,
        "mail_user": cluster.mail_user,
        "mail_type": cluster.mail_type,
        "signal_delay_s": cluster.signal_seconds,
        "array_parallelism": cluster.max_parallel,
        # srun does not inherit cpus-per-task from sbatch; a process that dies must not leave the others waiting for it.
        "srun_args": [f"--cpus-per-task={cluster.cpus_per_task}", "--kill-on-bad-exit=1", *cluster.srun_args],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **cluster.additional_parameters},
    }
    return {key: value for key, value in options.items() if value is not None}


def _gres(cluster: Cluster, work: Work) -> str | None:
    gpus = cluster.gpus_per_node if work.trains else int(work.uses_gpu)
    gpu_type = f":{cluster.gpu_type}" if cluster.gpu_type else ""
    resources = [f"gpu{gpu_type}:{gpus}"] if gpus and cluster.gpus_per_node else []
    return ",".join([*resources, *([cluster.gres] if cluster.gres else [])]) or None


def setup(cluster: Cluster, code: Path, folder: Path) -> list[str]:
    """Return the lines of the batch script before srun, for jobs that run `code` and keep their files in `folder`."""
    variables = environment(code) | {
        "OMP_NUM_THREADS": str(cluster.cpus_per_task),
        "NOISEMAP_JOB_FOLDER": str(folder),
        "NOISEMAP_MAX_RESTARTS": str(cluster.fruitless_restarts),
    }
    exports = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    return [*cluster.setup, *exports, SURVIVE_SIGTERM, SURVIVE_FAILURE]


def teardown(code: Path) -> list[str]:
    """Return the lines of the batch script after srun."""
    return [f"source {shlex.quote(str(code / 'launch' / 'slurm' / 'requeue.sh'))}"]


def arrays(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Yield groups of at most MAX_ARRAY jobs that share a SLURM job name and dependencies; each is one sbatch call."""
    for _, group in itertools.groupby(jobs, key=lambda job: (job_name("", job), job.needs)):
        same = list(group)
        yield from (same[start : start + MAX_ARRAY] for start in range(0, len(same), MAX_ARRAY))


def job_name(study: str, job: Job) -> str:
    """Return the SLURM job name: the study's name, kind of work and seed."""
    return "-".join(filter(None, [study, job.work.kind, job.work.group]))


@dataclass
class SlurmRun:
    """Submits the jobs of a study; `ids` maps names of jobs to SLURM ids, including jobs of earlier launches."""

    study: Experiment | ModelStudy
    ids: dict[str, str]

    def submit(self, jobs: Sequence[Job]) -> list[Submission]:
        """Submit jobs with one sbatch call per training, last checkpoint, array and collect job.

        Raises UserError if this machine has no SLURM or if SLURM refuses a job.
        """
        if shutil.which("sbatch") is None:
            raise UserError(
                "sbatch not found: this machine is not part of a SLURM cluster; omit --cluster to run on this machine"
            )
        folder = jobs_folder(self.study).resolve() / time.strftime("%Y-%m-%d_%H-%M-%S")
        return [self._submit(group, folder) for group in arrays(jobs)]

    @functools.cached_property
    def code(self) -> Path:
        """The snapshot of the code that all jobs of this run share."""
        return snapshot(self.study)

    def _submit(self, jobs: list[Job], folder: Path) -> Submission:
        cluster, first = self.study.cluster, jobs[0]
        name = job_name(self.study.name, first)
        executor = submitit.SlurmExecutor(folder)
        executor.update_parameters(
            **parameters(cluster, first.work),
            job_name=name,
            dependency=self._dependency(first),
            setup=setup(cluster, self.code, folder),
            teardown=teardown(self.code),
        )
        try:
            with outside_allocation(), executor.batch():
                submitted = [executor.submit(SlurmJob(job.work)) for job in jobs]
        except FailedJobError as error:
            raise UserError(f"sbatch refuses {first.name}: {_sbatch_errors(error)}") from None
        ids = [job.job_id for job in submitted]
        self.ids |= dict(zip((job.name for job in jobs), ids, strict=True))
        return submissions.write(self.study, jobs, ids, name, folder)

    def _dependency(self, job: Job) -> str | None:
        if not job.needs:
            return None
        ids = [self.ids[need] for need in job.needs]
        if isinstance(job.work, Collect):  # runs even if the others fail; an array is one dependency
            return "afterany:" + ":".join(sorted({queue.array_id(job_id) for job_id in ids}))
        return "afterok:" + ":".join(ids)


@contextmanager
def outside_allocation() -> Iterator[None]:
    """Hide the variables of the job in which this process runs, because submitted jobs would inherit them."""
    hidden = {}
    if "SLURM_JOB_ID" in os.environ:
        names = [name for name in os.environ if name.startswith(("SLURM_", "SUBMITIT_")) and name != "SLURM_CONF"]
        hidden = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ |= hidden


def _sbatch_errors(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "sbatch: error:" in line]
    return " ".join(line.removeprefix("sbatch: error: ") for line in lines) or " ".join(str(error).split())


def in_queue(study: Experiment | ModelStudy) -> dict[str, tuple[Submission, Task, queue.Entry]]:
    """Return the jobs of a study that are in SLURM's queue, by id."""
    submitted = list(submissions.read(study))
    entries = {
        (entry.id, entry.name): entry for entry in queue.entries(submission.job_name for submission in submitted)
    }
    return {
        task.id: (submission, task, entries[task.id, submission.job_name])
        for submission in submitted
        for task in submission.tasks
        if (task.id, submission.job_name) in entries
    }


def queued(study: Experiment | ModelStudy) -> tuple[Queued, dict[str, str]]:
    """Return the queued work that need not be submitted again, and the ids of all queued jobs by name.

    Raises UserError if a queued job trains a seed to another number of steps, because two trainings would conflict.
    """
    jobs = _settled_queue(study).values()
    tasks = [task for _, task, _ in jobs]
    if isinstance(study, Experiment):
        _check_trainings(study, tasks)
    current = settings_fingerprint(study)
    same = [task for submission, task, _ in jobs if submission.fingerprint == current or task.trains]
    steps = {(task.seed or 0, step) for task in same if task.name.startswith("analyze") for step in task.steps}
    slices = {(task.ddim_steps, task.images[0], task.images[1]) for task in same if task.ddim_steps and task.images}
    newest = _newest(same)
    names = frozenset(task.name for task in same if task.name != COLLECT or task.id == newest)
    ids = {task.name: task.id for task in [*tasks, *same]}  # jobs of other settings may have the same names
    return Queued(names, frozenset(steps), frozenset(slices)), ids


def _check_trainings(experiment: Experiment, tasks: Sequence[Task]) -> None:
    """Raise UserError if one of the queued jobs trains to another number of steps than the experiment."""
    for task in tasks:
        if task.trains and task.steps != [experiment.train.steps]:
            raise UserError(
                f"job {task.id} is training seed {task.seed} to {task.steps[0]:,} steps; wait for it to end, or cancel "
                "it with  python -m launch cancel"
            )


def _newest(tasks: Sequence[Task]) -> str | None:
    """Return the id of the newest of queued jobs of the same settings, oldest first: an older last job misses some.

    It need not wait for early analyses, which are not part of the plan.
    """
    return next((task.id for task in reversed(tasks) if not task.name.startswith("early")), None)


def _settled_queue(study: Experiment | ModelStudy) -> dict[str, tuple[Submission, Task, queue.Entry]]:
    """Return the jobs in the queue after waiting for those that are COMPLETING: canceled, ended, or to be requeued.

    A canceled job must not count as queued, and a requeued one must.
    """
    for _ in range(COMPLETING_S):
        jobs = in_queue(study)
        if all(entry.state != "COMPLETING" for _, _, entry in jobs.values()):
            break
        time.sleep(1)
    return jobs


def cancel(study: Experiment | ModelStudy) -> str:
    """Cancel all queued jobs of a study in one call, and return a message."""
    ids = sorted({queue.array_id(job_id) for job_id in in_queue(study)}, key=int)
    if not ids:
        return "no jobs of this study are in SLURM's queue"
    queue.cancel(ids)
    return f"canceled: {', '.join(ids)}; saved work is kept, rerun python -m launch to resume"
