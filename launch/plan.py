"""Which jobs a study needs, and which of them wait for which."""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.schema import Experiment
from launch.jobs import Analyse, Train, Work
from models.flops import forward_flop
from records.layout import checkpoint_minutes_file, seed_folder
from train.run_folder import is_trained

# Sustained, of a GPU and of a core, for a first idea of how long an analysis takes; later ones go by what was measured.
ASSUMED_GPU_FLOP_PER_S, ASSUMED_CORE_FLOP_PER_S = 20e12, 20e9


@dataclass(frozen=True)
class Job:
    """A piece of work with a name, which starts when the jobs of `needs` have ended well."""

    name: str
    work: Work
    needs: tuple[str, ...] = ()


def train_name(seed: int) -> str:
    return f"train seed {seed}"


def last_name(seed: int, step: int) -> str:
    return f"analyse seed {seed} step {step}"


def slice_name(seed: int, steps: Sequence[int]) -> str:
    return f"analyse seed {seed} steps {steps[0]}–{steps[-1]}"


@dataclass(frozen=True)
class Queued:
    """What earlier launches have in the queue: names of jobs, and by seed the steps that are analysed by them."""

    names: frozenset[str] = frozenset()
    steps: frozenset[tuple[int, int]] = frozenset()  # (seed, step)


def plan(experiment: Experiment, queued: Queued = Queued()) -> list[Job]:
    """The jobs that are still to be done: per seed a training, its last checkpoint, and the others in slices."""
    return [job for seed in experiment.seeds for job in _seed_plan(experiment, seed, queued)]


def _seed_plan(experiment: Experiment, seed: int, queued: Queued) -> Iterator[Job]:
    threads = threads_per_job(experiment)
    needs: tuple[str, ...] = ()
    if not is_trained(seed_folder(experiment, seed), experiment.train.steps):
        needs = (train_name(seed),)
        if needs[0] not in queued.names:
            yield Job(needs[0], Train(experiment, threads, seed))
    todo, last = steps_to_analyse(experiment, seed), experiment.train.steps
    if last in todo:  # first and alone, since all others are compared with it
        before, needs = needs, (last_name(seed, last),)
        if needs[0] not in queued.names:
            yield Job(needs[0], Analyse(experiment, threads, seed, (last,)), before)
    others = [step for step in todo if step != last and (seed, step) not in queued.steps]
    for steps in slices(others, slice_size(experiment, len(others))):
        yield Job(slice_name(seed, steps), Analyse(experiment, threads, seed, steps), needs)


def steps_to_analyse(experiment: Experiment, seed: int) -> list[int]:
    """The steps of the schedule whose measures are not all there yet, checkpoints that are still to come included."""
    analysis = SeedAnalysis(experiment, seed)
    there, missing = set(analysis.steps), set(analysis.missing())
    planned = checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)
    return [step for step in planned if step not in there or step in missing]


def slices(steps: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """The steps of each analysis job: `size` of them, in the last one what is left."""
    for start in range(0, len(steps), size):
        yield tuple(steps[start : start + size])


def slice_size(experiment: Experiment, checkpoints: int) -> int:
    """How many of a seed's checkpoints an analysis job takes: `slice_minutes` of work, or an even share if less."""
    cluster = experiment.cluster
    if cluster.checkpoints_per_job is not None:
        return cluster.checkpoints_per_job
    share = math.ceil(checkpoints / cluster.max_parallel)
    return max(1, min(share, int(cluster.slice_minutes / checkpoint_minutes(experiment))))


def checkpoint_minutes(experiment: Experiment) -> float:
    """How long the analysis of a checkpoint takes: as said, as the last job measured it, or from its operations."""
    if experiment.cluster.checkpoint_minutes is not None:
        return experiment.cluster.checkpoint_minutes
    measured = checkpoint_minutes_file(experiment, SeedAnalysis(experiment, experiment.seeds[0]).folder.name)
    if measured.exists():
        return max(float(measured.read_text(encoding="utf-8")), 1e-3)
    options, cluster = experiment.analyze, experiment.cluster
    flop = 2 * options.ddim_steps * options.samples * forward_flop(experiment.model, experiment.diffusion)
    cores = threads_per_job(experiment) or len(os.sched_getaffinity(0))
    on_gpu = torch.cuda.is_available() if cluster.kind != "slurm" else cluster.gpus_per_node > 0
    return flop / (ASSUMED_GPU_FLOP_PER_S if on_gpu else ASSUMED_CORE_FLOP_PER_S * cores) / 60


def threads_per_job(experiment: Experiment) -> int:
    """CPU threads of each job: its share of this machine's cores, so that they don't slow each other, or of SLURM's."""
    if experiment.cluster.kind == "slurm":
        return experiment.cluster.cpus_per_task
    if experiment.cluster.kind == "debug":
        return 0
    return max(1, len(os.sched_getaffinity(0)) // experiment.cluster.max_parallel)
