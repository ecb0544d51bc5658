"""The jobs of an experiment: training, analysis of checkpoints, report."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from analyze.analysis import SeedAnalysis, other_fingerprints
from analyze.measures.inverters import check_names
from analyze.settings import fingerprint
from configs.errors import UserError
from configs.schema import Experiment
from launch.jobs import CollectExperiment
from launch.plan import NOTHING, Job, Queued, checkpoint_minutes, plan
from launch.progress import Refresh, analysis_bar, training_bar
from launch.slurm.submissions import Submission
from launch.studies import StudyJobs
from records.human import human_time
from records.layout import seed_folder
from train.run_folder import check_config


@dataclass(frozen=True)
class ExperimentJobs(StudyJobs):
    """The jobs of an experiment."""

    experiment: Experiment

    complete = "everything is trained and analyzed"

    def check(self, follow: bool) -> None:
        """Raise UserError if an inverter does not exist, or if a run folder belongs to another configuration."""
        check_names(self.experiment.analyze.measures.inverters)
        for seed in self.experiment.seeds:
            check_config(seed_folder(self.experiment, seed), self.experiment)

    def plan(self, queued: Queued = NOTHING) -> list[Job]:
        return plan(self.experiment, queued)

    def collect(self, threads: int, failed: UserError | None = None) -> CollectExperiment:
        return CollectExperiment(self.experiment, threads, failed)

    def bars(self, jobs: Sequence[Job]) -> list[AbstractContextManager[Refresh]]:
        return [training_bar(self.experiment, jobs), analysis_bar(self.experiment, jobs)]

    def costs(self) -> tuple[str, str]:
        return "", f"about {human_time(60 * checkpoint_minutes(self.experiment))} of analysis per checkpoint"

    def results(self, submitted: Sequence[Submission]) -> Iterator[str]:
        """Yield a table of the checkpoints per seed."""
        failed: list[str] = []
        yield "checkpoints    trained  analyzed  failed"
        for seed in self.experiment.seeds:
            analysis = SeedAnalysis(self.experiment, seed)
            failures = analysis.failures()
            trained, analyzed = len(analysis.steps), len(analysis.steps) - len(analysis.missing())
            total = trained + len(analysis.awaited)
            yield f"seed {seed:<8}  {trained:>4}/{total:<4}  {analyzed:>3}/{total:<4}  {len(failures):>6}"
            for step, reason in failures.items():
                log = _log(submitted, seed, step)
                failed.append(f"seed {seed}, step {step}: {reason}{f' (log: {log})' if log else ''}")
        if others := other_fingerprints(self.experiment):
            yield f"(analysis {fingerprint(self.experiment.analyze)}; also available: {', '.join(others)})"
        if failed:
            yield from ["", "failed checkpoints", *(f"  {line}" for line in failed)]


def _log(submitted: Sequence[Submission], seed: int, step: int) -> Path | None:
    """Return the log of the latest job that analyzed a checkpoint, or None if no log exists."""
    logs = [
        submission.paths(task).stderr
        for submission in submitted
        for task in submission.tasks
        if not task.trains and task.seed == seed and step in task.steps
    ]
    return next((log for log in reversed(logs) if log.exists()), None)
