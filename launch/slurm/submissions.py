"""Records of submissions to SLURM, used to find the jobs days later and from other machines."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from submitit.core.utils import JobPaths

from configs.errors import UserError, first_line
from configs.schema import Experiment, ModelStudy
from launch.jobs import Analyze
from launch.plan import Job
from launch.slurm.queue import array_id
from records.atomic import read_json, write_json
from records.layout import submissions_folder

# Options of a model study that its results do not depend on.
NOT_IN_RESULTS = ("name", "runs", "downloads", "sweep", "vae_scaling_factor", "wandb", "cluster")


@dataclass(frozen=True)
class Task:
    """A job, or a job of an array: its id, its name in the plan, and the steps it analyzes or trains to.

    Jobs of a model study have a number T of DDIM steps, and a range of images if they generate a slice.
    """

    id: str
    name: str
    seed: int | None = None
    steps: list[int] = field(default_factory=list)
    ddim_steps: int | None = None
    images: list[int] = field(default_factory=list)  # first, and the one after the last

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
        """Return the paths of a task's log and result, those of its first process if it has several."""
        return JobPaths(self.logs, task.id)

    def results(self, task: Task) -> list[JobPaths]:
        """Return the paths of each process of a task that has returned or raised an error, in the order of time."""
        files = sorted(Path(self.logs).glob(f"{task.id}_*_result.pkl"), key=lambda file: file.stat().st_mtime)
        ranks = [file.name.removeprefix(f"{task.id}_").removesuffix("_result.pkl") for file in files]
        return [JobPaths(self.logs, task.id, int(rank)) for rank in ranks if rank.isdecimal()]


def settings_fingerprint(study: Experiment | ModelStudy) -> str:
    """Return a fingerprint of all settings that a job depends on, apart from its checkpoint or T.

    It includes those that results hardly depend on, such as `batch_size` and `pictures`, so that a change takes effect.
    """
    if isinstance(study, Experiment):
        settings: Any = [study.train.steps, dataclasses.asdict(study.analyze)]
    else:
        settings = {key: value for key, value in dataclasses.asdict(study).items() if key not in NOT_IN_RESULTS}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


def write(study: Experiment | ModelStudy, jobs: Sequence[Job], ids: list[str], job_name: str, logs: Path) -> Submission:
    """Record jobs that were just submitted with one sbatch call."""
    tasks = [Task(job_id, job.name, **job.work.record()) for job_id, job in zip(ids, jobs, strict=True)]
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    fingerprint = settings_fingerprint(study)
    submission = Submission(array_id(ids[0]), job_name, now, str(logs), fingerprint, tasks)
    write_json(submissions_folder(study) / f"{now}-{submission.id}.json", dataclasses.asdict(submission))
    return submission


def read(study: Experiment | ModelStudy) -> Iterator[Submission]:
    """Yield all submissions of a study, oldest first.

    Raises UserError if a record is damaged: its jobs would be submitted a second time.
    """
    for file in sorted(submissions_folder(study).glob("*.json"), key=_time_and_id):
        try:
            content = _upgrade(read_json(file))
            yield Submission(**content | {"tasks": [Task(**task) for task in content["tasks"]]})
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(
                f"{file}: the record of submitted jobs is damaged ({first_line(error)}); wait until the study has no "
                "jobs in squeue, then remove the file"
            ) from None


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
    return timestamp, int(number) if number.isdecimal() else 0
