"""The job plan that --dry-run prints: jobs, dependencies and the resources requested from SLURM."""

from collections.abc import Iterator

from configs.schema import Experiment, ModelStudy
from launch.plan import Job
from launch.slurm.submit import arrays, job_name, parameters, setup
from launch.studies import study_jobs
from launch.study import with_collect_job
from records.layout import code_folder, jobs_folder


def describe(study: Experiment | ModelStudy) -> str:
    """Return the plan of everything that is missing, regardless of jobs already in the queue."""
    of_study = study_jobs(study)
    about, duration = of_study.costs()
    jobs = of_study.plan()
    if not jobs:
        plan = ["plan: nothing is missing"]
    elif study.cluster.kind == "slurm":
        plan = [f"plan: {len(jobs)} jobs, {duration}", *_slurm_lines(study, with_collect_job(study, jobs, ()))]
    else:
        plan = [f"plan: {len(jobs)} jobs, {duration}", *(f"  {job.name}{_dependencies(job)}" for job in jobs)]
    return "\n".join([*filter(None, [about]), *plan])


def _slurm_lines(study: Experiment | ModelStudy, jobs: list[Job]) -> Iterator[str]:
    cluster = study.cluster
    for group in arrays(jobs):
        first = group[0]
        yield f"  {first.name}{_rest(group)}{_dependencies(first)}"
        options = parameters(cluster, first.work)
        text = ", ".join(f"{key}={value}{' minutes' if key == 'time' else ''}" for key, value in options.items())
        yield f"    {job_name(study.name, first)}: {text}"
    yield "  each job begins with:"
    yield from (f"    {line}" for line in setup(cluster, code_folder(study, "…"), jobs_folder(study) / "…"))


def _rest(group: list[Job]) -> str:
    """Return the last name, number and size of the jobs of an array."""
    if len(group) == 1:
        return ""
    work, largest = group[0].work, max(job.work.size for job in group)
    return f" … {group[-1].name}: {len(group)} jobs{f' of up to {largest} {work.unit}' if work.unit else ''}"


def _dependencies(job: Job) -> str:
    return f"   after {', '.join(job.needs[:2])}{', …' if len(job.needs) > 2 else ''}" if job.needs else ""
