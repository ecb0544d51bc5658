"""Where a study stands: a table of its jobs and one of its checkpoints, from files and from what SLURM says."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from submitit.core.utils import pickle_load

from analyze.analysis import SeedAnalysis, fingerprint, other_fingerprints
from configs.checks import checkpoint_steps
from configs.errors import UserError
from configs.schema import Experiment
from launch.slurm import queue, submissions
from launch.slurm.queue import Entry
from launch.slurm.submissions import Submission, Task
from launch.slurm.submit import in_queue
from records.layout import experiment_folder, seed_folder
from records.tracking import points

WIDTHS = (34, 10)


@dataclass(frozen=True)
class State:
    """What became of a job: a word, and what there is to say about it."""

    word: str
    about: str = ""


def status(experiment: Experiment) -> str:
    """The tables as text. Raises UserError nowhere: what SLURM does not say is told from files alone."""
    if not experiment_folder(experiment).exists():
        return f"nothing of it was launched or trained yet: there is no folder {experiment_folder(experiment)}"
    notes = list(submissions.read(experiment))
    lines, states = [], {}
    if notes:
        waiting, warning = _queue(experiment)
        states = dict(_states(notes, waiting))
        lines += [*warning, *_row("job", "id", "state"), *_job_lines(experiment, notes, states), ""]
    return "\n".join([*lines, *_checkpoint_lines(experiment, notes)])


def _queue(experiment: Experiment) -> tuple[dict[str, Entry], list[str]]:
    try:
        return {job: entry for job, (_, _, entry) in in_queue(experiment).items()}, []
    except UserError as error:
        return {}, [f"SLURM cannot be asked ({error}); from files alone:"]


def _states(notes: list[Submission], waiting: dict[str, Entry]) -> Iterator[tuple[tuple[str, str], State]]:
    """The state of every job, by (time of submission, id)."""
    unknown = [
        task.id for note in notes for task in note.tasks if task.id not in waiting and not note.result(task).exists()
    ]
    ended = queue.ended(unknown)
    for note in notes:
        for task in note.tasks:
            entry = waiting.get(task.id)
            yield (note.time, task.id), _of_entry(entry) if entry else _of_result(note, task, ended)


def _of_entry(entry: Entry) -> State:
    return State(entry.state.lower(), entry.reason if entry.state == "PENDING" else "")


def _of_result(note: Submission, task: Task, ended: dict[str, str]) -> State:
    result, log = note.result(task), f"(log: {note.log(task)})"
    if result.exists():
        kind, content = pickle_load(result)
        if kind == "success":
            return State("done")
        return State("failed", f"{content.strip().splitlines()[-1].removeprefix('configs.errors.UserError: ')} {log}")
    return State(ended.get(task.id, "gone").lower(), f"{log}" if note.log(task).exists() else "it never began")


def _job_lines(experiment: Experiment, notes: list[Submission], states: dict[tuple[str, str], State]) -> Iterator[str]:
    for note in notes:
        of_tasks = [(task, states[note.time, task.id]) for task in note.tasks]
        if len(of_tasks) == 1:
            ((task, state),) = of_tasks
            yield from _row(task.name, task.id, f"{_said(state)}{_trained(experiment, task, state)}")
            continue
        counts = Counter(state.word for _, state in of_tasks)
        counted = ", ".join(f"{count} {word}" for word, count in counts.items())
        yield from _row(f"analyse seed {note.tasks[0].seed}", note.id, f"{len(of_tasks)} jobs: {counted}")
        for task, state in of_tasks:
            if state.word not in ("done", "pending", "running"):
                yield from _row(f"  {task.name}", task.id, _said(state))


def _said(state: State) -> str:
    return f"{state.word}: {state.about}" if state.about else state.word


def _trained(experiment: Experiment, task: Task, state: State) -> str:
    if state.word != "running" or not task.trains:
        return ""
    return f", step {points.last_step(seed_folder(experiment, task.seed or 0).log):,} of {task.steps[0]:,}"


def _row(*cells: str) -> Iterator[str]:
    yield "".join(cell.ljust(width) + " " for cell, width in zip(cells, WIDTHS, strict=False)) + cells[-1]


def _checkpoint_lines(experiment: Experiment, notes: list[Submission]) -> Iterator[str]:
    total = len(checkpoint_steps(experiment.train.checkpoints, experiment.train.steps))
    failed: list[str] = []
    yield "checkpoints    trained  analysed  failed"
    for seed in experiment.seeds:
        analysis = SeedAnalysis(experiment, seed)
        failures, missing = analysis.failures(), analysis.missing()
        there = len(analysis.steps)
        yield f"seed {seed:<8}  {there:>4}/{total:<4}  {there - len(missing):>3}/{total:<4}  {len(failures):>6}"
        for step, why in failures.items():
            log = _log_of(notes, seed, step)
            failed.append(f"seed {seed}, step {step}: {why}{f' (log: {log})' if log else ''}")
    if others := other_fingerprints(experiment):
        yield f"(analysed as {fingerprint(experiment.analyze)}; there is also {', '.join(others)})"
    if failed:
        yield from ["", "failed checkpoints", *(f"  {line}" for line in failed)]


def _log_of(notes: list[Submission], seed: int, step: int) -> Path | None:
    """The log of the latest job that had this checkpoint."""
    had = [
        note.log(task)
        for note in notes
        for task in note.tasks
        if not task.trains and task.seed == seed and step in task.steps
    ]
    return next((log for log in reversed(had) if log.exists()), None)
