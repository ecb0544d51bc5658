"""Records of submissions to SLURM, used to find the jobs days later and from other machines."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths

from configs.schema import Experiment
from launch.jobs import Analyze, Train
from launch.plan import Job
from launch.slurm.queue import array_id
from records.atomic import write_json
from records.layout import submissions_folder


@dataclass(frozen=True)
class Task:
    """A job, or a job of an array: its id, its name in the plan, and the steps it analyzes or trains to."""

    id: str
    name: str
    seed: int | None
    steps: list[int]

    @property
    def trains(self) -> bool:
        return self.name.startswith("train")


@dataclass(frozen=True)
class Submission:
    """One sbatch call: a job or an array."""

    id: str
    job_name: str  # SLURM's
    time: str
    logs: str
    fingerprint: str  # see `settings_fingerprint`
    tasks: list[Task]

    def paths(self, task: Task) -> JobPaths:
        """Return the paths of a task's log and result."""
        return JobPaths(self.logs, task.id)


def settings_fingerprint(experiment: Experiment) -> str:
    """Return a fingerprint of all settings that the results of an analysis job depend on, apart from the checkpoint."""
    settings = json.dumps([experiment.train.steps, dataclasses.asdict(experiment.analyze)], sort_keys=True)
    return hashlib.sha256(settings.encode()).hexdigest()[:16]


def write(experiment: Experiment, jobs: Sequence[Job], ids: list[str], job_name: str, logs: Path) -> Submission:
    """Record jobs that were just submitted with one sbatch call."""
    tasks = []
    for job_id, job in zip(ids, jobs, strict=True):
        work = job.work
        seed = work.seed if isinstance(work, (Train, Analyze)) else None
        steps = list(work.steps) if isinstance(work, Analyze) else [experiment.train.steps]
        tasks.append(Task(job_id, job.name, seed, steps))
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    fingerprint = settings_fingerprint(experiment)
    submission = Submission(array_id(ids[0]), job_name, now, str(logs), fingerprint, tasks)
    write_json(submissions_folder(experiment) / f"{now}-{submission.id}.json", dataclasses.asdict(submission))
    return submission


def read(experiment: Experiment) -> Iterator[Submission]:
    """Yield all submissions of a study, oldest first."""
    for file in sorted(submissions_folder(experiment).glob("*.json"), key=_time_and_id):
        content = _upgrade(json.loads(file.read_text(encoding="utf-8")))
        yield Submission(**content | {"tasks": [Task(**task) for task in content["tasks"]]})


def _upgrade(content: dict[str, Any]) -> dict[str, Any]:
    """Rename a key and task names that earlier versions wrote differently."""
    if "way" in content:
        content["fingerprint"] = content.pop("way")
    for task in content["tasks"]:
        task["name"] = task["name"].replace(f"{Analyze.kind} ", "analyze ")
    return content


def _time_and_id(file: Path) -> tuple[str, int]:
    """Return the sort key of a submission's file: ids order the submissions of one second."""
    timestamp, _, number = file.stem.rpartition("-")
    return timestamp, int(number)
