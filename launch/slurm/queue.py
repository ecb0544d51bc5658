"""What SLURM says of jobs, one call a question."""

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from configs.errors import UserError, first_line

ENDED_WELL = "COMPLETED"


@dataclass(frozen=True)
class Entry:
    """A job that is in the queue: waiting, running or just ending."""

    id: str  # 17, or 17_3 in an array
    name: str
    state: str  # PENDING, RUNNING, …
    reason: str  # why it waits


def entries(names: Iterable[str]) -> list[Entry]:
    """The jobs in the queue that have one of some names. Raises UserError where SLURM does not answer."""
    wanted = ",".join(sorted(set(names)))
    if not wanted:
        return []
    said = call("squeue", "--noheader", "--array", f"--name={wanted}", "--format=%i|%j|%T|%r")
    found = [Entry(*line.split("|", 3)) for line in said.splitlines()]
    return [entry for entry in found if entry.reason != "DependencyNeverSatisfied"]


def ended(ids: Iterable[str]) -> dict[str, str]:
    """How jobs ended, by id, where SLURM keeps accounts of them: COMPLETED, CANCELLED, TIMEOUT, …"""
    wanted = ",".join(sorted({one.partition("_")[0] for one in ids}))
    if not wanted:
        return {}
    try:
        said = call("sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State", f"--jobs={wanted}")
    except UserError:  # many clusters have no accounting
        return {}
    pairs = (line.split("|") for line in said.splitlines())
    return {job: state.partition(" ")[0] for job, state in pairs}


def cancel(ids: Iterable[str]) -> None:
    call("scancel", *sorted(ids))


def call(*command: str) -> str:
    """What a command of SLURM prints. Raises UserError where it fails or is not there."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        raise UserError(f"{command[0]} is not found: this machine is no part of a SLURM cluster") from None
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} fails: {error.stderr.strip() or first_line(error)}") from None
