"""The jobs of a model study: slices of the images, analysis of each T, report.

One job analyzes one T. If that takes too long, jobs generate slices of its N images first, and its analysis joins them.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from analyze import slices
from analyze.model import ModelAnalysis, open_analyses, outline, stored_analyses
from analyze.model_record import Facts, check_model, record_facts, recorded_facts
from configs.errors import UserError
from configs.schema import ModelStudy
from launch.jobs import Work
from launch.model_jobs import AnalyzeModel, CollectModel, Generate
from launch.plan import NOTHING, Job, Queued, flop_per_s, threads_per_job
from launch.progress import Refresh, counting_bar
from launch.slurm.submissions import Submission
from launch.studies import StudyJobs
from models.source import Source
from records.human import human_time
from records.layout import evaluation_seconds_file

SHORTEST_MINUTES = 5.0  # shorter jobs would open the model more often than they save time


@dataclass(frozen=True)
class ModelStudyJobs(StudyJobs):
    """The jobs of a model study."""

    study: ModelStudy

    complete = "everything is analyzed"

    def check(self, follow: bool) -> None:
        """Open the model and record it. Raises UserError if that fails, or if its folder belongs to another model."""
        if follow:
            raise UserError("--follow analyzes checkpoints during a training; omit it for a pretrained model")
        source, _ = open_analyses(self.study)
        check_model(self.study, source)
        record_facts(self.study, source)

    @functools.cached_property
    def facts(self) -> Facts:
        """Properties of the model, which is opened if it was not launched before."""
        return recorded_facts(self.study) or Facts.of(self._opened[0])

    @functools.cached_property
    def _opened(self) -> tuple[Source, list[ModelAnalysis]]:
        """The model, which stays in memory; for --dry-run only."""
        return open_analyses(self.study)

    @property
    def analyses(self) -> list[ModelAnalysis]:
        """The analyses of all T, without the model."""
        return stored_analyses(self.study, self.facts)

    def plan(self, queued: Queued = NOTHING) -> list[Job]:
        """Return the jobs to run: slices of all T, then the analysis of each T, those that need no slice first."""
        unfinished = [analysis for analysis in self.analyses if analysis.missing()]
        todo = [analysis for analysis in unfinished if _name(analysis) not in queued.names]
        generate = {_name(analysis): self._slices(analysis, unfinished, queued) for analysis in todo}
        analyze = [self._analyze(analysis, generate[_name(analysis)], queued) for analysis in todo]
        slices_first = [job for jobs in generate.values() for job in jobs]
        return [*slices_first, *sorted(analyze, key=lambda job: bool(job.needs))]

    def _analyze(self, analysis: ModelAnalysis, generate: Sequence[Job], queued: Queued) -> Job:
        steps, threads = analysis.options.ddim_steps, threads_per_job(self.study)
        in_queue = [_name(analysis, part) for part in _queued_parts(queued, steps)]
        needs = (*in_queue, *(job.name for job in generate))
        return Job(_name(analysis), AnalyzeModel(self.study, threads, steps), needs)

    def _slices(self, analysis: ModelAnalysis, unfinished: Sequence[ModelAnalysis], queued: Queued) -> list[Job]:
        """Return the jobs for the images of a T that are neither generated nor in the queue; none if one is enough."""
        steps, threads = analysis.options.ddim_steps, threads_per_job(self.study)
        in_queue, missing = _queued_parts(queued, steps), analysis.incomplete_images()
        missing = [gap for part in missing for gap in slices.gaps(in_queue, part)]
        size = self._images_per_job(analysis, unfinished, sum(map(len, missing)))
        parts = list(slices.pieces(missing, size))
        if len(parts) <= 1 and not in_queue:
            return []
        return [
            Job(_name(analysis, part), Generate(self.study, threads, steps, part.start, part.stop)) for part in parts
        ]

    def _images_per_job(self, analysis: ModelAnalysis, unfinished: Sequence[ModelAnalysis], images: int) -> int:
        """Return the images per job: `slice_minutes` of work, or an even share of all T's work if that is less."""
        cluster = self.study.cluster
        if cluster.images_per_job is not None:
            return cluster.images_per_job
        share = sum(map(self.minutes, unfinished)) / cluster.max_parallel
        longest = min(cluster.slice_minutes, max(share, SHORTEST_MINUTES))
        return max(1, math.ceil(images / math.ceil(max(self.minutes(analysis) / longest, 1))))

    def minutes(self, analysis: ModelAnalysis) -> float:
        """Return the time that the missing tensors of a T take: as jobs measured it, or estimated from FLOPs."""
        evaluations = analysis.calls(analysis.tensors()) * self.facts.evaluations_per_call
        try:
            seconds = float(evaluation_seconds_file(self.study).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            seconds = self.facts.flop / flop_per_s(self.study)
        return evaluations * seconds / 60

    def collect(self, threads: int, failed: UserError | None = None) -> Work:
        return CollectModel(self.study, threads, failed)

    def bars(self, jobs: Sequence[Job]) -> list[AbstractContextManager[Refresh]]:
        """Return a bar over the evaluations that the missing tensors take, counted by the names of files."""
        of_jobs = {job.work.ddim_steps for job in jobs if isinstance(job.work, (Generate, AnalyzeModel))}
        analyses = [analysis for analysis in self.analyses if analysis.options.ddim_steps in of_jobs]

        def left() -> int:
            calls = sum(analysis.calls(analysis.tensors(), checked=False) for analysis in analyses)
            return calls * self.facts.evaluations_per_call

        total = left()
        return [counting_bar("generating", total, "image·step", lambda: total - left())]

    def costs(self) -> tuple[str, str]:
        seconds = 60 * sum(self.minutes(analysis) for analysis in self.analyses if analysis.missing())
        return outline(self.study, *self._opened), f"about {human_time(seconds)} of generation in total"

    def results(self, submitted: Sequence[Submission]) -> Iterator[str]:
        """Yield a table of the images and measures per T."""
        if recorded_facts(self.study) is None:
            yield "not launched yet"
            return
        failed: list[str] = []
        yield f"{'T':>6}  {'generated':>11}  measured"
        for analysis in self.analyses:
            steps, total = analysis.options.ddim_steps, analysis.options.samples
            generated = total - sum(map(len, analysis.incomplete_images()))
            yield f"{steps:>6}  {generated:>5}/{total:<5}  {'no' if analysis.missing() else 'yes':>8}"
            failed += [f"  T = {steps:,}: {reason}" for reason in analysis.failures().values()]
        if failed:
            yield from ["", "failures", *failed]


def _name(analysis: ModelAnalysis, part: range | None = None) -> str:
    """Return the name of the job that analyzes a T, or of the one that generates a slice of its images."""
    steps = analysis.options.ddim_steps
    return f"analyze T {steps}" if part is None else f"generate T {steps} images {part.start}–{part.stop - 1}"


def _queued_parts(queued: Queued, ddim_steps: int) -> list[range]:
    """Return the images of a T that jobs in the queue generate."""
    return [range(start, stop) for T, start, stop in sorted(queued.slices) if ddim_steps == T]
