"""launch --follow: stays with a study that SLURM has, and has checkpoints analysed while training goes on.

All of the study is in the queue already, so that leaving this at any time costs nothing but the head start: what is
analysed early is compared with the last checkpoint so far, and compared again with the last one when that is there.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack

from analyze.analysis import SeedAnalysis
from configs.schema import Experiment
from launch.jobs import Analyse
from launch.plan import Job, plan, slice_size, slices, threads_per_job
from launch.progress import analysis_bar, training_bar
from launch.slurm.submit import SlurmRun, in_queue
from launch.status import status
from records.layout import seed_folder
from train.run_folder import is_trained

SECONDS_BETWEEN_LOOKS = 30.0  # SLURM is asked once each time


def follow_study(experiment: Experiment) -> None:
    """Returns when no job of the study is in the queue any more, and prints what came of it."""
    run, jobs = SlurmRun(experiment, {}), plan(experiment)
    with ExitStack() as stack:
        looks = [stack.enter_context(bar) for bar in (training_bar(experiment, jobs), analysis_bar(experiment, jobs))]
        while there := in_queue(experiment):
            early = [task.seed for _, task, _ in there.values() if task.name.startswith("early")]
            new = [job for seed in experiment.seeds if seed not in early for job in early_jobs(experiment, seed)]
            run.submit(new)
            for look in looks:
                look()
            time.sleep(SECONDS_BETWEEN_LOOKS)
    print(status(experiment))


def early_jobs(experiment: Experiment, seed: int) -> Iterator[Job]:
    """Analyses of what a training has left and nobody has looked at: the newest alone, then the others in slices."""
    analysis = SeedAnalysis(experiment, seed)
    failed = analysis.failures()
    new = [step for step in analysis.missing() if not analysis.results(step) and step not in failed]
    if not new or is_trained(seed_folder(experiment, seed), experiment.train.steps):
        return
    newest, others = new[0], new[:0:-1]
    threads, size = threads_per_job(experiment), slice_size(experiment, len(new))
    first = Job(f"early seed {seed} step {newest}", Analyse(experiment, threads, seed, (newest,)))
    yield first
    for steps in slices(others, size):
        name = f"early seed {seed} steps {steps[0]}–{steps[-1]}"
        yield Job(name, Analyse(experiment, threads, seed, steps), (first.name,))
