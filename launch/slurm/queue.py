"""Queries and commands to SLURM; each function makes one call."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from configs.errors import UserError, first_line

UNCUT = {"SLURM_BITSTR_LEN": "0"}  # SLURM shows long lists of the jobs of an array completely


@dataclass(frozen=True)
class Entry:
    """A job in the queue: pending, running or completing."""

    id: str  # 17, or 17_3 in an array
    name: str
    state: str  # PENDING, RUNNING, …
    reason: str  # why it is pending


def array_id(job_id: str) -> str:
    """Return the id of the array that a job belongs to: 17 for 17_3. Other jobs keep their id."""
    return job_id.partition("_")[0]


def entries(names: Iterable[str]) -> list[Entry]:
    """Return the jobs in the queue with any of the given names. Raises UserError if SLURM does not answer."""
    names = sorted(set(names))
    if not names:
        return []
    output = call("squeue", "--noheader", "--array", f"--name={','.join(names)}", "--format=%i|%j|%T|%r")
    jobs = [Entry(*line.split("|", 3)) for line in output.splitlines()]
    return [job for job in jobs if job.reason != "DependencyNeverSatisfied"]


def final_states(ids: Iterable[str]) -> dict[str, str]:
    """Return the final states of jobs by id (COMPLETED, CANCELLED, TIMEOUT, …); empty if SLURM has no accounting."""
    ids = sorted(set(map(array_id, ids)))
    if not ids:
        return {}
    columns = ("--noheader", "--parsable2", "--allocations", "--format=JobID,State")
    try:
        output = call("sacct", *columns, f"--jobs={','.join(ids)}")
    except UserError:  # many clusters have no accounting
        return {}
    pairs = (line.split("|") for line in output.splitlines())
    return {job_id: state.partition(" ")[0] for shown, state in pairs for job_id in _expand(shown)}


def _expand(shown: str) -> Iterator[str]:
    """Yield the ids of a line of sacct, which shows jobs of an array that have never started as 17_[4-9,12%16]."""
    array, _, indices = shown.partition("_")
    if not indices:
        yield array
    for part in indices.strip("[]").partition("%")[0].split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():  # a long list ends with ...
            yield from (f"{array}_{index}" for index in range(int(first), int(last or first) + 1))


def cancel(ids: Iterable[str]) -> None:
    call("scancel", *sorted(ids))


def call(*command: str) -> str:
    """Run a SLURM command and return its output. Raises UserError if it fails or is not installed."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | UNCUT).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]} not found: this machine is not part of a SLURM cluster") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} failed: {error.stderr.strip() or first_line(error)}") from None
