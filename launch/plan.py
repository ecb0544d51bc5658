"""Jobs that a study still needs, and their dependencies."""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

import torch

from analyze.analysis import SeedAnalysis
from analyze.estimate import evaluations_per_image
from configs.schema import Experiment, ModelStudy
from launch.jobs import Analyze, Train, Work
from models.flops import forward_flop
from records.cores import available_cores
from records.layout import checkpoint_minutes_file, seed_folder

# Sustained rates, for a first estimate of the analysis time; later estimates use the measured time.
ASSUMED_GPU_FLOP_PER_S, ASSUMED_CORE_FLOP_PER_S = 20e12, 20e9

COLLECT = "collect"  # name of the job that writes the report


@dataclass(frozen=True)
class Job:
    """Named work that starts when all jobs in `needs` have succeeded."""

    name: str
    work: Work
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Queued:
    """Work that earlier launches have in the queue: names of jobs, and the steps and slices being analyzed."""

    names: frozenset[str] = frozenset()
    steps: frozenset[tuple[int, int]] = frozenset()  # (seed, step)
    slices: frozenset[tuple[int, int, int]] = frozenset()  # (T, first image, image after the last)


NOTHING = Queued()


def plan(experiment: Experiment, queued: Queued = NOTHING) -> list[Job]:
    """Return the jobs to run: per seed the training, the analysis of its last checkpoint, and the others in slices."""
    return [job for seed in experiment.seeds for job in _seed_plan(experiment, seed, queued)]


def _seed_plan(experiment: Experiment, seed: int, queued: Queued) -> Iterator[Job]:
    threads = threads_per_job(experiment)
    needs: tuple[str, ...] = ()
    if not seed_folder(experiment, seed).is_trained(experiment.train.steps):
        train = Job(f"train seed {seed}", Train(experiment, threads, seed))
        needs = (train.name,)
        if train.name not in queued.names:
            yield train
    todo, last = steps_to_analyze(experiment, seed), experiment.train.steps
    if last in todo:  # first and alone, because all others are compared with it
        analyze_last = Job(f"analyze seed {seed} step {last}", Analyze(experiment, threads, seed, (last,)), needs)
        needs = (analyze_last.name,)
        if analyze_last.name not in queued.names:
            yield analyze_last
    others = [step for step in todo if step != last and (seed, step) not in queued.steps]
    for steps in slices(others, slice_size(experiment, len(others))):
        name = f"analyze seed {seed} steps {steps[0]}–{steps[-1]}"
        yield Job(name, Analyze(experiment, threads, seed, steps), needs)


def steps_to_analyze(experiment: Experiment, seed: int) -> list[int]:
    """Return the scheduled steps without complete measures, including checkpoints that are yet to be trained."""
    analysis = SeedAnalysis(experiment, seed)
    return sorted({*analysis.missing(), *analysis.awaited})


def slices(steps: Sequence[int], size: int) -> Iterator[tuple[int, ...]]:
    """Yield the steps of each analysis job: `size` of them, and the remainder in the last."""
    for start in range(0, len(steps), size):
        yield tuple(steps[start : start + size])


def slice_size(experiment: Experiment, checkpoints: int) -> int:
    """Return the number of checkpoints per analysis job: `slice_minutes` of work, or an even share if that is less."""
    cluster = experiment.cluster
    if cluster.checkpoints_per_job is not None:
        return cluster.checkpoints_per_job
    share = math.ceil(checkpoints / cluster.max_parallel)
    return max(1, min(share, int(cluster.slice_minutes / checkpoint_minutes(experiment))))


def checkpoint_minutes(experiment: Experiment) -> float:
    """Return the analysis time per checkpoint: as configured, as the last job measured it, or estimated from FLOPs."""
    if experiment.cluster.checkpoint_minutes is not None:
        return experiment.cluster.checkpoint_minutes
    measured = checkpoint_minutes_file(experiment, SeedAnalysis(experiment, experiment.seeds[0]).folder.name)
    with suppress(OSError, ValueError):  # not measured yet, or damaged
        return max(1e-3, float(measured.read_text(encoding="utf-8")))
    options = experiment.analyze
    evaluations = evaluations_per_image(options) * options.samples
    flop = evaluations * forward_flop(experiment.model, experiment.diffusion)
    return flop / flop_per_s(experiment) / 60


def flop_per_s(study: Experiment | ModelStudy) -> float:
    """Return the assumed rate of a job."""
    on_gpu = torch.cuda.is_available() if study.cluster.kind != "slurm" else study.cluster.gpus_per_node > 0
    cores = threads_per_job(study) or available_cores()
    return ASSUMED_GPU_FLOP_PER_S if on_gpu else ASSUMED_CORE_FLOP_PER_S * cores


def threads_per_job(study: Experiment | ModelStudy) -> int:
    """Return the CPU threads per job: SLURM's cores per task, or an equal share of this machine's; 0: all cores."""
    if study.cluster.kind == "slurm":
        return study.cluster.cpus_per_task
    if study.cluster.kind == "debug":
        return 0
    return max(1, available_cores() // study.cluster.max_parallel)
