"""A whole study: all its jobs, and its report."""

import math
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from configs.errors import UserError
from configs.schema import Experiment, ModelStudy
from launch.jobs import Launcher
from launch.local import LocalRun
from launch.plan import COLLECT, Job
from launch.slurm.submissions import Submission
from launch.slurm.submit import SlurmRun, queued
from launch.snapshot import environment, snapshot
from launch.studies import StudyJobs, study_jobs
from records import lock
from records.layout import experiment_folder, jobs_folder

Study = Experiment | ModelStudy


def run_study(study: Study, follow: bool = False) -> None:
    """Run all jobs of a study and write the report, doing only what is missing.

    On SLURM, submit the jobs and return, or with `follow` stay until they end. Raises UserError if the study's folder
    belongs to another configuration or model, and, after everything else is done, if a job, a checkpoint or a T failed.
    """
    launcher, jobs = launcher_of(study), study_jobs(study)
    jobs.check(follow)
    with exclusive(launcher):
        if study.cluster.kind != "slurm":
            run_jobs(study, jobs, launcher)
            return
        is_complete = submit_study(study, jobs)
    if is_complete:
        jobs.collect(threads=0).run()
    elif follow and isinstance(study, Experiment):
        from launch.slurm.follow import follow_study

        follow_study(study)


def launcher_of(study: Study) -> Launcher:
    """Return this process as the launcher of a study."""
    return Launcher(experiment_folder(study) / "launch.lock", lock.describe_process("launch"))


def run_jobs(study: Study, jobs: StudyJobs, launcher: Launcher) -> None:
    """Run the missing jobs on this machine, then collect the results."""
    missing, failed = jobs.plan(), None
    try:
        run_in_process(missing) if study.cluster.kind == "debug" else run_local(study, jobs, missing, launcher)
    except UserError as error:
        failed = error
    jobs.collect(threads=0, failed=failed).run()


def submit_study(study: Study, jobs: StudyJobs) -> bool:
    """Submit the missing jobs that are not in SLURM's queue; return whether all jobs of the study are complete."""
    existing, ids = queued(study)
    missing = jobs.plan(existing)
    if not missing and (not ids or COLLECT in existing.names):
        reason = f"{len(ids)} jobs of this study are in the queue" if ids else jobs.complete
        print(f"nothing to submit: {reason}", flush=True)
        return not ids
    try:
        print_submissions(SlurmRun(study, ids).submit(with_collect_job(study, missing, tuple(ids))))
    except UserError as error:
        if missing:
            raise
        # A partition may reject the last job at every launch, and the others can be followed nevertheless.
        print(f"warning: {error}; run  python -m analyze CONFIG  when the jobs are done", file=sys.stderr)
    return False


def print_submissions(submitted: Sequence[Submission]) -> None:
    for submission in submitted:
        first, *rest = [task.name for task in submission.tasks]
        print(f"submitted {submission.id}: {first}{f' … {rest[-1]} ({len(rest) + 1} jobs)' if rest else ''}")
    print("SLURM runs these jobs; see  python -m launch status  and  python -m launch cancel", flush=True)


def with_collect_job(study: Study, jobs: list[Job], queued_jobs: tuple[str, ...]) -> list[Job]:
    """Append the job that writes the report after these jobs and the named queued ones end, even if some fail."""
    needs = (*(job.name for job in jobs), *queued_jobs)
    return [*jobs, Job(COLLECT, study_jobs(study).collect(study.cluster.cpus_per_task), needs)]


@contextmanager
def exclusive(launcher: Launcher) -> Iterator[None]:
    """Hold the study's launch lock; if another launch holds it, print a message and wait."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(launcher.lock, launcher.holder, wait_s=0))
        except lock.Busy as holder:
            print(f"waiting for another launch of this experiment: {holder}", flush=True)
            stack.enter_context(lock.hold(launcher.lock, launcher.holder, wait_s=math.inf))
        yield


def run_in_process(jobs: list[Job]) -> None:
    """Run all jobs one after another inside this process. Raises UserError at the first failure."""
    for job in jobs:
        if message := job.work():
            raise UserError(f"{job.name}: {message}")


def run_local(study: Study, jobs: StudyJobs, missing: list[Job], launcher: Launcher) -> None:
    """Run the missing jobs as processes on this machine, with progress bars."""
    os.environ |= environment(snapshot(study))  # inherited by the jobs, some of which start hours from now
    with ExitStack() as stack:
        bars = [stack.enter_context(bar) for bar in jobs.bars(missing)]
        LocalRun(study.cluster, jobs_folder(study), launcher).run(missing, bars)
