"""The job plan that --dry-run prints: jobs, dependencies and the resources requested from SLURM."""

from collections.abc import Iterator

from configs.schema import Experiment
from launch.jobs import Analyze
from launch.plan import Job, checkpoint_minutes, plan
from launch.slurm.submit import arrays, job_name, parameters, setup
from launch.study import with_collect_job
from records.human import human_time
from records.layout import code_folder, jobs_folder


def describe(experiment: Experiment) -> str:
    """Return the plan of everything that is missing, regardless of jobs already in the queue."""
    jobs = plan(experiment)
    if not jobs:
        return "plan: nothing is missing"
    if experiment.cluster.kind == "slurm":
        lines = list(_slurm_lines(experiment, with_collect_job(experiment, jobs, ())))
    else:
        lines = [f"  {job.name}{_dependencies(job)}" for job in jobs]
    duration = human_time(60 * checkpoint_minutes(experiment))
    return "\n".join([f"plan: {len(jobs)} jobs, about {duration} of analysis per checkpoint", *lines])


def _slurm_lines(experiment: Experiment, jobs: list[Job]) -> Iterator[str]:
    cluster = experiment.cluster
    for group in arrays(jobs):
        first, sizes = group[0], [len(job.work.steps) for job in group if isinstance(job.work, Analyze)]
        rest = f" … {group[-1].name}: {len(group)} jobs of up to {max(sizes)} checkpoints" if len(group) > 1 else ""
        yield f"  {first.name}{rest}{_dependencies(first)}"
        options = parameters(cluster, first.work)
        text = ", ".join(f"{key}={value}{' minutes' if key == 'time' else ''}" for key, value in options.items())
        yield f"    {job_name(experiment.name, first)}: {text}"
    yield "  each job begins with:"
    yield from (f"    {line}" for line in setup(cluster, code_folder(experiment, "…"), jobs_folder(experiment) / "…"))


def _dependencies(job: Job) -> str:
    return f"   after {', '.join(job.needs[:2])}{', …' if len(job.needs) > 2 else ''}" if job.needs else ""
