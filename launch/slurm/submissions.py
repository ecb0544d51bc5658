"""Notes of what was handed to SLURM: enough to find the jobs again, days later and from another machine."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from configs.schema import Experiment
from launch.jobs import Analyse, Train
from launch.plan import Job
from records.atomic import write_json
from records.layout import submissions_folder


@dataclass(frozen=True)
class Task:
    """A job, or one of an array: its id, its name in the plan, and the steps it analyses or trains to."""

    id: str
    name: str
    seed: int | None
    steps: list[int]

    @property
    def trains(self) -> bool:
        return self.name.startswith("train")


@dataclass(frozen=True)
class Submission:
    """What one call of sbatch handed over."""

    id: str
    job_name: str  # SLURM's
    time: str
    logs: str
    way: str  # fingerprint of what is done: see `study_fingerprint`
    tasks: list[Task]

    def log(self, task: Task) -> Path:
        return Path(self.logs) / f"{task.id}_0_log.err"

    def result(self, task: Task) -> Path:
        return Path(self.logs) / f"{task.id}_0_result.pkl"


def study_fingerprint(experiment: Experiment) -> str:
    """A fingerprint of all that an analysis job's results depend on beside the checkpoint."""
    shaping = json.dumps([experiment.train.steps, dataclasses.asdict(experiment.analyze)], sort_keys=True)
    return hashlib.sha256(shaping.encode()).hexdigest()[:16]


def write(experiment: Experiment, jobs: Sequence[Job], ids: list[str], job_name: str, logs: Path) -> Submission:
    """Notes jobs that SLURM has just taken, one or an array."""
    tasks = []
    for one, job in zip(ids, jobs, strict=True):
        work = job.work
        seed = work.seed if isinstance(work, (Train, Analyse)) else None
        steps = list(work.steps) if isinstance(work, Analyse) else [experiment.train.steps]
        tasks.append(Task(one, job.name, seed, steps))
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    made = Submission(ids[0].partition("_")[0], job_name, now, str(logs), study_fingerprint(experiment), tasks)
    write_json(submissions_folder(experiment) / f"{now}-{made.id}.json", dataclasses.asdict(made))
    return made


def read(experiment: Experiment) -> Iterator[Submission]:
    """All submissions of a study, the earliest first."""
    for file in sorted(submissions_folder(experiment).glob("*.json"), key=_when):
        content = json.loads(file.read_text(encoding="utf-8"))
        yield Submission(**content | {"tasks": [Task(**task) for task in content["tasks"]]})


def _when(file: Path) -> tuple[str, int]:
    """The time of a submission's file and, of those of one second, its number."""
    time, _, number = file.stem.rpartition("-")
    return time, int(number)
