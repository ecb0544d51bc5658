"""SLURM: jobs become a handful of sbatch calls that wait for each other, so that the launching process can leave."""

import functools
import itertools
import math
import shlex
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError

from configs.errors import UserError
from configs.schema import Cluster, Experiment
from launch.jobs import Analyse, Collect, SlurmJob, Train, Work
from launch.plan import Job, Queued
from launch.slurm import queue, submissions
from launch.slurm.submissions import Submission, Task, study_fingerprint
from launch.snapshot import environment, snapshot
from records.layout import jobs_folder

# After srun, in the job's script. A task that a signal ended (status 128 + its number) goes on after a requeue, unless
# the job has failed for good or was cancelled: SLURM calls it running no longer then.
REQUEUE = """code=$?
id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
id=${id:-$SLURM_JOB_ID}
notes=LOGS/$id
[ $code -gt 128 ] || exit $code
[ ! -e ${notes}_failed ] || exit 1
[ "$(squeue --noheader --jobs=$id --format=%T)" = RUNNING ] || exit $code
echo "ended with status $code" >> ${notes}_restarts
if [ $(wc -l < ${notes}_restarts) -gt MOST ]; then
  echo "given up after $(wc -l < ${notes}_restarts) ends without anything done between them" >&2
  exit 1
fi
echo "ended with status $code; goes back into the queue"
scontrol requeue $id"""
OUTLIVE_SIGTERM = "trap : TERM  # which preemption sends; the lines after srun are still to run"


def parameters(cluster: Cluster, work: Work) -> dict[str, Any]:
    """What submitit's SLURM executor is told for a job of some work."""
    training = isinstance(work, Train)
    processes = cluster.processes_per_node or max(1, cluster.gpus_per_node) if training else 1
    hours = cluster.train_timeout_hours if training else None
    asked = {
        "time": math.ceil(60 * (hours or cluster.timeout_hours)),
        "nodes": cluster.nodes if training else 1,
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
        # srun does not take cpus-per-task from sbatch; a process that dies must not leave the others waiting for it.
        "srun_args": [f"--cpus-per-task={cluster.cpus_per_task}", "--kill-on-bad-exit=1", *cluster.srun_args],
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", **cluster.additional_parameters},
    }
    return {key: value for key, value in asked.items() if value is not None}


def _gres(cluster: Cluster, work: Work) -> str | None:
    gpus = 0 if isinstance(work, Collect) else cluster.gpus_per_node if isinstance(work, Train) else 1
    kind = f":{cluster.gpu_type}" if cluster.gpu_type else ""
    asked = [f"gpu{kind}:{gpus}"] if gpus and cluster.gpus_per_node else []
    return ",".join([*asked, *([cluster.gres] if cluster.gres else [])]) or None


def setup(cluster: Cluster, code: Path) -> list[str]:
    """The lines of a job's script before srun."""
    own = [f"export {name}={value!r}" for name, value in environment(code).items()]
    return [*cluster.setup, *own, f"export OMP_NUM_THREADS={cluster.cpus_per_task}", OUTLIVE_SIGTERM]


def teardown(cluster: Cluster, logs: Path) -> list[str]:
    """The lines after it."""
    lines = REQUEUE.replace("LOGS", shlex.quote(str(logs))).replace("MOST", str(cluster.fruitless_restarts))
    return lines.splitlines()


def arrays(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that are handed over together: of one kind and seed, waiting for the same."""
    for _, group in itertools.groupby(jobs, key=lambda job: (job_name("", job), job.needs)):
        yield list(group)


def job_name(experiment: str, job: Job) -> str:
    """What SLURM calls a job: the study, the kind of work and the seed."""
    work = job.work
    seed = f"-seed-{work.seed}" if isinstance(work, (Train, Analyse)) else ""
    return f"{experiment}-{type(work).__name__.lower()}{seed}"


@dataclass
class SlurmRun:
    """Hands jobs to SLURM; `ids` are those of jobs that earlier launches handed over, by name."""

    experiment: Experiment
    ids: dict[str, str]

    def submit(self, jobs: Sequence[Job]) -> list[Submission]:
        """One sbatch a training, a last checkpoint, an array and the collecting job. Raises UserError if refused."""
        if shutil.which("sbatch") is None:
            raise UserError(
                "sbatch is not found: this machine is no part of a SLURM cluster; "
                "leave --cluster out to work on this machine"
            )
        logs = jobs_folder(self.experiment).resolve() / time.strftime("%Y-%m-%d_%H-%M-%S")
        return [self._submit(group, logs) for group in arrays(jobs)]

    @functools.cached_property
    def code(self) -> Path:
        """All jobs of this run have the code of one moment."""
        return snapshot(self.experiment)

    def _submit(self, jobs: list[Job], logs: Path) -> Submission:
        cluster, first = self.experiment.cluster, jobs[0]
        name = job_name(self.experiment.name, first)
        executor = submitit.SlurmExecutor(logs)
        executor.update_parameters(
            **parameters(cluster, first.work),
            job_name=name,
            dependency=self._dependency(first),
            setup=setup(cluster, self.code),
            teardown=teardown(cluster, logs),
        )
        works = [SlurmJob(job.work) for job in jobs]
        try:
            with executor.batch():
                handed = [executor.submit(work) for work in works]
        except FailedJobError as error:
            raise UserError(f"sbatch refuses {first.name}: {_refusal(error)}") from None
        ids = [job.job_id for job in handed]
        self.ids |= dict(zip((job.name for job in jobs), ids, strict=True))
        return submissions.write(self.experiment, jobs, ids, name, logs)

    def _dependency(self, job: Job) -> str | None:
        if not job.needs:
            return None
        ids = [self.ids[need] for need in job.needs]
        if isinstance(job.work, Collect):  # whatever came of them; an array counts as one
            return "afterany:" + ":".join(sorted({one.partition("_")[0] for one in ids}))
        return "afterok:" + ":".join(ids)


def _refusal(error: Exception) -> str:
    said = [line.strip() for line in str(error).splitlines() if "sbatch: error:" in line]
    return " ".join(line.removeprefix("sbatch: error: ") for line in said) or " ".join(str(error).split())


def in_queue(experiment: Experiment) -> dict[str, tuple[Submission, Task, queue.Entry]]:
    """The jobs of a study that are in SLURM's queue, by id."""
    notes = list(submissions.read(experiment))
    entries = {(entry.id, entry.name): entry for entry in queue.entries(note.job_name for note in notes)}
    return {
        task.id: (note, task, entries[task.id, note.job_name])
        for note in notes
        for task in note.tasks
        if (task.id, note.job_name) in entries
    }


def queued(experiment: Experiment) -> tuple[Queued, dict[str, str]]:
    """What need not be handed over again, and the ids of all of a study's jobs in the queue, by name.

    Raises UserError where a seed is being trained to another number of steps: a second training would be in its way.
    """
    found = in_queue(experiment).values()
    for _, task, _ in found:
        if task.trains and task.steps != [experiment.train.steps]:
            raise UserError(
                f"seed {task.seed} is being trained to {task.steps[0]:,} steps by job {task.id}; wait for it, or end "
                "it with  python -m launch cancel"
            )
    same = [(note, task) for note, task, _ in found if note.way == study_fingerprint(experiment) or task.trains]
    steps = {(task.seed or 0, step) for _, task in same if "analyse" in task.name for step in task.steps}
    names = frozenset(task.name for _, task in same)
    return Queued(names, frozenset(steps)), {task.name: task.id for _, task, _ in found}


def cancel(experiment: Experiment) -> str:
    """Ends all jobs of a study that are in the queue, in one call; what it did, in a line."""
    ids = {one.partition("_")[0] for one in in_queue(experiment)}
    if not ids:
        return "no jobs of this study are in SLURM's queue"
    queue.cancel(ids)
    return f"cancelled: {', '.join(sorted(ids, key=int))}; what was saved is kept, and launching again goes on from it"
