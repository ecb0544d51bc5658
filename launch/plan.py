"""Which jobs a study needs, and which of them wait for which."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.schema import Experiment
from launch.jobs import Analyse, Train, Work
from records.layout import seed_folder
from train.claim import is_trained


@dataclass(frozen=True)
class Job:
    """A piece of work with a name, which starts when the jobs of `needs` have ended well."""

    name: str
    work: Work
    needs: tuple[str, ...] = ()


def plan(experiment: Experiment) -> list[Job]:
    """The jobs that are still to be done: per seed a training, its last checkpoint, and the others in slices."""
    return [job for seed in experiment.seeds for job in _seed_plan(experiment, seed)]


def _seed_plan(experiment: Experiment, seed: int) -> Iterator[Job]:
    threads = threads_per_job(experiment)
    trained: tuple[str, ...] = ()
    if not is_trained(seed_folder(experiment, seed), experiment.train.steps):
        trained = (f"train seed {seed}",)
        yield Job(trained[0], Train(experiment, seed, threads))
    todo = steps_to_analyse(experiment, seed)
    last = experiment.train.steps
    needs = trained
    if last in todo:  # first and alone, since all others are compared with it
        yield Job(f"analyse seed {seed} step {last}", Analyse(experiment, seed, threads, (last,)), trained)
        needs = (f"analyse seed {seed} step {last}",)
    others = [step for step in todo if step != last]
    size = experiment.cluster.checkpoints_per_job
    for start in range(0, len(others), size):
        steps = tuple(others[start : start + size])
        yield Job(f"analyse seed {seed} steps {steps[0]}–{steps[-1]}", Analyse(experiment, seed, threads, steps), needs)


def steps_to_analyse(experiment: Experiment, seed: int) -> list[int]:
    """The steps of the schedule whose measures are not all there yet, checkpoints that are still to come included."""
    analysis = SeedAnalysis(experiment, seed)
    there, missing = set(analysis.steps), set(analysis.missing())
    planned = checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)
    return [step for step in planned if step not in there or step in missing]


def threads_per_job(experiment: Experiment) -> int:
    """The share of this machine's cores that each of the parallel jobs gets, so that they don't slow each other."""
    if experiment.cluster.kind != "local":
        return 0
    return max(1, len(os.sched_getaffinity(0)) // experiment.cluster.max_parallel)
