"""A whole study: training of all seeds, analysis of all checkpoints, report."""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from configs.errors import UserError
from configs.schema import Experiment
from launch.jobs import Collect, Launcher
from launch.local import LocalRun
from launch.plan import Job, plan
from launch.progress import analysis_bar, training_bar
from launch.slurm.submit import SlurmRun, queued
from launch.snapshot import environment, snapshot
from records import lock
from records.layout import experiment_folder, jobs_folder, seed_folder
from train.run_folder import check_config


def run_study(experiment: Experiment, follow: bool = False) -> None:
    """Train all seeds, analyze all checkpoints and write the report, doing only what is missing.

    On SLURM, submit the jobs and return, or with `follow` stay until they end. Raises UserError if a run folder
    belongs to another configuration, and, after everything else is done, if a job or a checkpoint failed.
    """
    launcher = Launcher(experiment_folder(experiment) / "launch.lock", lock.describe_process("launch"))
    for seed in experiment.seeds:
        check_config(seed_folder(experiment, seed), experiment)
    with exclusive(launcher):
        if experiment.cluster.kind != "slurm":
            run_jobs(experiment, launcher)
            return
        is_complete = submit_study(experiment)
    if is_complete:
        Collect(experiment, threads=0).run()
    elif follow:
        from launch.slurm.follow import follow_study

        follow_study(experiment)


def run_jobs(experiment: Experiment, launcher: Launcher) -> None:
    """Run the missing jobs on this machine, then collect the results."""
    jobs, failed = plan(experiment), None
    try:
        run_in_process(jobs) if experiment.cluster.kind == "debug" else run_local(experiment, jobs, launcher)
    except UserError as error:
        failed = error
    Collect(experiment, threads=0, failed=failed).run()


def submit_study(experiment: Experiment) -> bool:
    """Submit the missing jobs that are not in SLURM's queue; return whether all jobs of the study are complete."""
    existing, ids = queued(experiment)
    jobs = plan(experiment, existing)
    if not jobs:
        reason = f"{len(ids)} jobs of this study are in the queue" if ids else "everything is trained and analyzed"
        print(f"nothing to submit: {reason}", flush=True)
        return not ids
    for submission in SlurmRun(experiment, ids).submit(with_collect_job(experiment, jobs, tuple(ids))):
        first, *rest = [task.name for task in submission.tasks]
        print(f"submitted {submission.id}: {first}{f' … {rest[-1]} ({len(rest) + 1} jobs)' if rest else ''}")
    print("SLURM runs these jobs; see  python -m launch status  and  python -m launch cancel", flush=True)
    return False


def with_collect_job(experiment: Experiment, jobs: list[Job], queued_jobs: tuple[str, ...]) -> list[Job]:
    """Append the job that writes the report after these jobs and the named queued ones end, even if some fail."""
    needs = (*(job.name for job in jobs), *queued_jobs)
    return [*jobs, Job("collect", Collect(experiment, experiment.cluster.cpus_per_task), needs)]


@contextmanager
def exclusive(launcher: Launcher) -> Iterator[None]:
    """Hold the experiment's launch lock; if another launch holds it, print a message and wait."""
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


def run_local(experiment: Experiment, jobs: list[Job], launcher: Launcher) -> None:
    """Run all jobs as processes on this machine, with progress bars for training and analysis."""
    os.environ |= environment(snapshot(experiment))  # inherited by the jobs, some of which start hours from now
    with ExitStack() as stack:
        bars = [stack.enter_context(bar) for bar in (training_bar(experiment, jobs), analysis_bar(experiment, jobs))]
        LocalRun(experiment.cluster, jobs_folder(experiment), launcher).run(jobs, bars)
