"""Status of a study: a table of its jobs and a table of its results, from files and SLURM's queue."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from configs.errors import UserError
from configs.schema import Experiment, ModelStudy
from launch.local import outcome
from launch.slurm import queue, submissions
from launch.slurm.queue import Entry
from launch.slurm.submissions import Submission, Task
from launch.slurm.submit import in_queue
from launch.studies import study_jobs
from records.layout import experiment_folder, seed_folder
from records.tracking import points

WIDTHS = (34, 10)


@dataclass(frozen=True)
class State:
    """The state of a job: one word, and details."""

    word: str
    details: str = ""

    def __str__(self) -> str:
        return f"{self.word}: {self.details}" if self.details else self.word


def status(study: Experiment | ModelStudy) -> str:
    """Return both tables as text, from files alone if SLURM does not answer."""
    if not experiment_folder(study).exists():
        return f"not launched yet: {experiment_folder(study)} does not exist"
    submitted = list(submissions.read(study))
    lines, states = [], {}
    if submitted:
        entries, warning = _queue_entries(study)
        states = dict(_states(submitted, entries))
        lines += [*warning, _row("job", "id", "state"), *_job_lines(study, submitted, states), ""]
    return "\n".join([*lines, *study_jobs(study).results(submitted)])


def _queue_entries(study: Experiment | ModelStudy) -> tuple[dict[str, Entry], list[str]]:
    try:
        return {job_id: entry for job_id, (_, _, entry) in in_queue(study).items()}, []
    except UserError as error:
        return {}, [f"SLURM does not answer ({error}); using files only:"]


def _states(submitted: list[Submission], entries: dict[str, Entry]) -> Iterator[tuple[tuple[str, str], State]]:
    """Yield the state of every job with its key: time of submission and id."""
    jobs = [(submission, task) for submission in submitted for task in submission.tasks]
    final_states = queue.final_states(
        task.id
        for submission, task in jobs
        if task.id not in entries and not submission.paths(task).result_pickle.exists()
    )
    for submission, task in jobs:
        entry = entries.get(task.id)
        state = _queued_state(entry) if entry else _final_state(submission, task, final_states)
        yield (submission.time, task.id), state


def _queued_state(entry: Entry) -> State:
    return State(entry.state.lower(), entry.reason if entry.state == "PENDING" else "")


def _final_state(submission: Submission, task: Task, final_states: dict[str, str]) -> State:
    for paths in submission.results(task):
        succeeded, content = outcome(paths.result_pickle)
        if not succeeded:
            return State("failed", f"{content.removeprefix('configs.errors.UserError: ')} (log: {paths.stderr})")
    paths = submission.paths(task)
    if paths.result_pickle.exists():
        return State("done")
    log = f"(log: {paths.stderr})" if paths.stderr.exists() else "never started"
    return State(final_states.get(task.id, "unknown").lower(), log)


def _job_lines(
    study: Experiment | ModelStudy, submitted: list[Submission], states: dict[tuple[str, str], State]
) -> Iterator[str]:
    for submission in submitted:
        jobs = [(task, states[submission.time, task.id]) for task in submission.tasks]
        if len(jobs) == 1:
            ((task, state),) = jobs
            yield _row(task.name, task.id, f"{state}{_training_progress(study, task, state)}")
            continue
        counts = Counter(state.word for _, state in jobs)
        summary = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield _row(_array_name(submission.tasks[0]), submission.id, f"{len(jobs)} jobs: {summary}")
        for task, state in jobs:
            if state.word not in ("done", "pending", "running"):
                yield _row(f"  {task.name}", task.id, str(state))


def _array_name(task: Task) -> str:
    """Return the name of an array of jobs for one of them."""
    return task.name.split()[0] if task.seed is None else f"analyze seed {task.seed}"


def _training_progress(study: Experiment | ModelStudy, task: Task, state: State) -> str:
    if state.word != "running" or not task.trains:
        return ""
    return f", step {points.last_step(seed_folder(study, task.seed or 0).log):,} of {task.steps[0]:,}"


def _row(*cells: str) -> str:
    return "".join(cell.ljust(width) + " " for cell, width in zip(cells, WIDTHS, strict=False)) + cells[-1]
