"""What --dry-run says of a launch: the jobs, what they wait for, and what they ask SLURM for."""

from collections.abc import Iterator

from configs.schema import Experiment
from launch.jobs import Analyse
from launch.plan import Job, checkpoint_minutes, plan
from launch.slurm.submit import arrays, job_name, parameters, setup
from launch.study import with_collecting
from records.human import human_time
from records.layout import code_folder


def describe(experiment: Experiment) -> str:
    """The plan of all that is missing, whatever earlier launches may have in the queue."""
    jobs = plan(experiment)
    if not jobs:
        return "plan: nothing is missing"
    if experiment.cluster.kind == "slurm":
        lines = list(_of_slurm(experiment, with_collecting(experiment, jobs, ())))
    else:
        lines = [f"  {job.name}{_needs(job)}" for job in jobs]
    each = human_time(60 * checkpoint_minutes(experiment))
    return "\n".join([f"plan: {len(jobs)} jobs, about {each} for the analysis of a checkpoint", *lines])


def _of_slurm(experiment: Experiment, jobs: list[Job]) -> Iterator[str]:
    for group in arrays(jobs):
        first, steps = group[0], [len(job.work.steps) for job in group if isinstance(job.work, Analyse)]
        many = f" … {group[-1].name}: {len(group)} jobs of up to {max(steps)} checkpoints" if len(group) > 1 else ""
        yield f"  {first.name}{many}{_needs(first)}"
        yield f"    {job_name(experiment.name, first)}: {_shown(parameters(experiment.cluster, first.work))}"
    yield "  in each job, first:"
    yield from (f"    {line}" for line in setup(experiment.cluster, code_folder(experiment, "…")))


def _needs(job: Job) -> str:
    return f"   after {', '.join(job.needs[:2])}{', …' if len(job.needs) > 2 else ''}" if job.needs else ""


def _shown(asked: dict) -> str:
    units = {"time": " minutes"}
    return ", ".join(f"{key}={value}{units.get(key, '')}" for key, value in asked.items())
