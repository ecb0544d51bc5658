"""Progress bars of a study's jobs, updated from the files that the jobs write."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from analyze.analysis import SeedAnalysis
from configs.schema import Experiment
from launch.jobs import Analyze, Train
from launch.plan import Job
from records.layout import seed_folder
from records.progress import progress
from records.tracking import points

Refresh = Callable[[], None]


@contextmanager
def training_bar(experiment: Experiment, jobs: Sequence[Job]) -> Iterator[Refresh]:
    """Show a bar over the training steps of all seeds to train, counted in their logs."""
    logs = [seed_folder(experiment, job.work.seed).log for job in jobs if isinstance(job.work, Train)]
    total = experiment.train.steps * len(logs)
    with counting_bar("training", total, "step", lambda: sum(map(points.last_step, logs))) as refresh:
        yield refresh


@contextmanager
def analysis_bar(experiment: Experiment, jobs: Sequence[Job]) -> Iterator[Refresh]:
    """Show a bar over the checkpoints to analyze, counted by the result and failure files written from now on."""
    started_s = time.time()
    files = [
        (analysis.results_file(step), analysis.failure_file(step))
        for work in (job.work for job in jobs if isinstance(job.work, Analyze))
        for analysis in [SeedAnalysis(experiment, work.seed)]
        for step in work.steps
    ]

    def count() -> int:
        return sum(any(_modified_s(file) > started_s for file in pair) for pair in files)

    with counting_bar("analyzing", len(files), "checkpoint", count) as refresh:
        yield refresh


@contextmanager
def counting_bar(label: str, total: int, unit: str, count: Callable[[], int]) -> Iterator[Refresh]:
    """Show a bar and yield the function that updates it; show none if `total` is 0."""
    if not total:
        yield lambda: None
        return
    with progress(label, total, unit, count()) as bar:
        is_waiting = True  # for jobs to start, and for those that come first

        def refresh() -> None:
            nonlocal is_waiting
            done = count()
            if done < bar.n or (is_waiting and bar.n < done < total):  # fewer: steps are trained again from a state
                bar.skip_to(done)
                is_waiting = False
            elif done > bar.n:
                bar.update(done - bar.n)
            if bar.n >= total:
                bar.close()  # time and speed stay those of this work

        yield refresh


def _modified_s(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0
