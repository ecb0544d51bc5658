"""Kinds of studies: their jobs, and the texts and progress bars about them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from configs.errors import UserError
from configs.schema import Experiment, ModelStudy
from launch.jobs import Work
from launch.plan import NOTHING, Job, Queued
from launch.progress import Refresh
from launch.slurm.submissions import Submission


class StudyJobs(ABC):
    """The jobs of a study."""

    complete: str  # in a sentence on a study without missing results

    @abstractmethod
    def check(self, follow: bool) -> None:
        """Check, before anything is launched, that the jobs can run. Raises UserError if not."""

    @abstractmethod
    def plan(self, queued: Queued = NOTHING) -> list[Job]:
        """Return the jobs that the study still needs, each after those that it depends on."""

    @abstractmethod
    def collect(self, threads: int, failed: UserError | None = None) -> Work:
        """Return the work that writes the report; `failed` is the error of the jobs before it."""

    @abstractmethod
    def bars(self, jobs: Sequence[Job]) -> list[AbstractContextManager[Refresh]]:
        """Return the progress bars of jobs, which show nothing before they are entered."""

    @abstractmethod
    def costs(self) -> tuple[str, str]:
        """Return a text about the study, or "", and the duration of its jobs."""

    @abstractmethod
    def results(self, submitted: Sequence[Submission]) -> Iterator[str]:
        """Yield the lines of a table of the results, and of the failures."""


def study_jobs(study: Experiment | ModelStudy) -> StudyJobs:
    if isinstance(study, ModelStudy):
        from launch.model_study import ModelStudyJobs

        return ModelStudyJobs(study)
    from launch.experiment import ExperimentJobs

    return ExperimentJobs(study)
