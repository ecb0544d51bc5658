"""`launch --follow`: stay with a study in SLURM's queue and analyze its checkpoints while training runs.

All jobs are in the queue before following begins, so it can be stopped at any time and only the head start is lost.
An early analysis compares with the newest checkpoint so far; the comparison is repeated once the last one exists.
"""

import sys
import time
from collections.abc import Container, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from analyze.analysis import SeedAnalysis
from configs.errors import UserError
from configs.schema import Experiment
from launch.jobs import Analyze
from launch.plan import Job, plan, slice_size, slices, threads_per_job
from launch.progress import analysis_bar, training_bar
from launch.slurm import submissions
from launch.slurm.submissions import settings_fingerprint
from launch.slurm.submit import SlurmRun, in_queue
from launch.status import status
from launch.study import exclusive, launcher_of
from records.layout import seed_folder

POLL_INTERVAL_S = 30.0  # one call of squeue each time
MAX_FAILURES = 20  # polls in a row that SLURM does not answer: a restart of its controller takes minutes


def follow_study(experiment: Experiment) -> None:
    """Submit early analyses until no job of the study is in the queue, then print the status.

    Raises UserError if SLURM does not answer for ten minutes.
    """
    poll, jobs = Poll(experiment, SlurmRun(experiment, {})), plan(experiment)
    with ExitStack() as stack:
        bars = [stack.enter_context(bar) for bar in (training_bar(experiment, jobs), analysis_bar(experiment, jobs))]
        while poll():
            for refresh in bars:
                refresh()
            time.sleep(POLL_INTERVAL_S)
    print(status(experiment))


@dataclass
class Poll:
    """A query of SLURM's queue and the submission of early analyses, which may fail `MAX_FAILURES` times in a row."""

    experiment: Experiment
    run: SlurmRun
    failures: int = 0

    def __call__(self) -> bool:
        """Return whether jobs of the study may still be in the queue. Raises UserError after too many failures."""
        try:
            is_active, self.failures = submit_early_jobs(self.experiment, self.run), 0
        except UserError as error:
            self.failures += 1
            if self.failures == MAX_FAILURES:
                raise
            print(f"warning: {error}; trying again", file=sys.stderr)
            return True
        return is_active


def submit_early_jobs(experiment: Experiment, run: SlurmRun) -> bool:
    """Submit early analyses of seeds without queued ones; return whether jobs of the study are in the queue."""
    with exclusive(launcher_of(experiment)):  # others may follow the same study
        if entries := in_queue(experiment):
            busy = {task.seed for _, task, _ in entries.values() if task.name.startswith("early")}
            idle, tried = [seed for seed in experiment.seeds if seed not in busy], submitted_early(experiment)
            run.submit([job for seed in idle for job in early_jobs(experiment, seed, tried)])
    return bool(entries)


def submitted_early(experiment: Experiment) -> set[tuple[int, int]]:
    """Return the seeds and steps of all early analyses with the current settings so far.

    None is submitted twice: one that was killed records no failure, and the next may be killed for the same reason.
    """
    current = settings_fingerprint(experiment)
    tasks = [task for each in submissions.read(experiment) if each.fingerprint == current for task in each.tasks]
    return {(task.seed or 0, step) for task in tasks if task.name.startswith("early") for step in task.steps}


def early_jobs(experiment: Experiment, seed: int, tried: Container[tuple[int, int]]) -> Iterator[Job]:
    """Yield jobs for the new checkpoints of an unfinished training: the newest alone, then the others in slices."""
    analysis = SeedAnalysis(experiment, seed)
    failures = analysis.failures()
    untried = [step for step in analysis.missing() if step not in failures and (seed, step) not in tried]
    new = [step for step in untried if not analysis.results(step)]
    if not new or seed_folder(experiment, seed).is_trained(experiment.train.steps):
        return
    newest, others = new[0], new[:0:-1]
    threads, size = threads_per_job(experiment), slice_size(experiment, len(new))
    first = Job(f"early seed {seed} step {newest}", Analyze(experiment, threads, seed, (newest,)))
    yield first
    for steps in slices(others, size):
        name = f"early seed {seed} steps {steps[0]}–{steps[-1]}"
        yield Job(name, Analyze(experiment, threads, seed, steps), (first.name,))
