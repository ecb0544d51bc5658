"""How far a study is while its jobs run, from the files that they leave."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from analyze.analysis import SeedAnalysis
from configs.schema import Experiment
from launch.jobs import Analyse, Train
from launch.local import Look
from launch.plan import Job
from records.layout import seed_folder
from records.progress import progress
from records.tracking import points


@contextmanager
def training_bar(experiment: Experiment, jobs: list[Job]) -> Iterator[Look]:
    """A bar over the steps of all seeds that are to be trained, as their logs tell."""
    logs = [seed_folder(experiment, job.work.seed).log for job in jobs if isinstance(job.work, Train)]
    total = experiment.train.steps * len(logs)
    with _bar("training", total, "step", lambda: sum(map(points.last_step, logs))) as look:
        yield look


@contextmanager
def analysis_bar(experiment: Experiment, jobs: list[Job]) -> Iterator[Look]:
    """A bar over the checkpoints that are to be analysed, as the files they leave tell."""
    started_s = time.time()
    files = [
        (analysis.results_file(step), analysis.failure_file(step))
        for work in (job.work for job in jobs if isinstance(job.work, Analyse))
        for analysis in [SeedAnalysis(experiment, work.seed)]
        for step in work.steps
    ]

    def done() -> int:
        return sum(any(_written_s(file) > started_s for file in pair) for pair in files)

    with _bar("analysing", len(files), "checkpoint", done) as look:
        yield look


@contextmanager
def _bar(what: str, total: int, unit: str, done: Callable[[], int]) -> Iterator[Look]:
    """A bar that each look brings up to date, or none where there is nothing to do."""
    if not total:
        yield lambda: None
        return
    with progress(what, total, unit, done()) as bar:

        def look() -> None:
            if (now := done()) != bar.n:
                bar.update(now - bar.n)

        yield look


def _written_s(file: Path) -> float:
    return file.stat().st_mtime if file.exists() else 0.0
