"""A whole study, from nothing or from wherever it has got to, to the report."""

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
    """Trains all seeds, analyses all checkpoints and writes the report, doing only what is missing.

    On SLURM it hands the jobs over and leaves, or with `follow` stays to the end. Raises UserError where a run folder
    was made with another configuration, and, after everything else is done, where a job or a checkpoint failed.
    """
    launcher = Launcher(experiment_folder(experiment) / "launch.lock", lock.describe_process("launch"))
    for seed in experiment.seeds:
        check_config(seed_folder(experiment, seed), experiment)
    with exclusive(launcher):
        if experiment.cluster.kind == "slurm":
            done = submit_study(experiment)
        else:
            run_jobs(experiment, launcher)
            return
    if done:
        Collect(experiment, threads=0).run()
    elif follow:
        from launch.slurm.follow import follow_study

        follow_study(experiment)


def run_jobs(experiment: Experiment, launcher: Launcher) -> None:
    """The study on this machine."""
    jobs, failed = plan(experiment), None
    try:
        run_here(jobs) if experiment.cluster.kind == "debug" else run_local(experiment, jobs, launcher)
    except UserError as error:
        failed = error
    Collect(experiment, threads=0, failed=failed).run()


def submit_study(experiment: Experiment) -> bool:
    """Hands SLURM what is missing and not in its queue yet; whether nothing is left to be done by jobs."""
    there, ids = queued(experiment)
    jobs = plan(experiment, there)
    if not jobs:
        waiting = f"nothing to submit: {len(ids)} jobs of this study are in the queue" if ids else ""
        print(waiting or "nothing to submit: all is trained and analysed", flush=True)
        return not ids
    for one in SlurmRun(experiment, ids).submit(with_collecting(experiment, jobs, tuple(ids))):
        last = f" … {one.tasks[-1].name} ({len(one.tasks)} jobs)" if len(one.tasks) > 1 else ""
        print(f"submitted {one.id}: {one.tasks[0].name}{last}")
    print("they go on by themselves; see  python -m launch status  and  python -m launch cancel", flush=True)
    return False


def with_collecting(experiment: Experiment, jobs: list[Job], others: tuple[str, ...]) -> list[Job]:
    """Jobs and one that makes the report when all of them, and the `others` in the queue, have ended, however."""
    needs = (*(job.name for job in jobs), *others)
    return [*jobs, Job("collect", Collect(experiment, experiment.cluster.cpus_per_task), needs)]


@contextmanager
def exclusive(launcher: Launcher) -> Iterator[None]:
    """Holds the experiment's launch lock; whoever comes second waits until the first has done its part."""
    with ExitStack() as stack:
        try:
            stack.enter_context(lock.hold(launcher.lock, launcher.holder, wait_s=0))
        except lock.Busy as busy:
            print(f"another {busy}, is at work on this; waiting for it", flush=True)
            stack.enter_context(lock.hold(launcher.lock, launcher.holder, wait_s=math.inf))
        yield


def run_here(jobs: list[Job]) -> None:
    """All jobs one after the other, inside this process."""
    for job in jobs:
        if failure := job.work():
            raise UserError(f"{job.name}: {failure}")


def run_local(experiment: Experiment, jobs: list[Job], launcher: Launcher) -> None:
    """All jobs as processes of this machine, with a bar for the training and one for the analysis."""
    os.environ |= environment(snapshot(experiment))  # of the job processes, which may start hours from now
    with ExitStack() as stack:
        looks = [stack.enter_context(bar) for bar in (training_bar(experiment, jobs), analysis_bar(experiment, jobs))]
        LocalRun(experiment.cluster, jobs_folder(experiment), launcher).run(jobs, looks)
