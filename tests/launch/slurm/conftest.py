"""Commands of SLURM that keep their queue in a file, so that tests of launching processes need no cluster."""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

COMMANDS = {
    "sbatch": """
        env > submission.env
        echo >> submissions
        id=$(wc -l < submissions)
        name=$(sed -n 's/^#SBATCH --job-name=//p' "$1")
        last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
        for index in $(seq 0 ${last:-0}); do
          echo "$id${last:+_$index}|$name|PENDING|None" >> queue
        done
        echo "Submitted batch job $id"
    """,
    "squeue": "cat queue",
    "sacct": "exit 1",
    "srun": "exit 1",
}


@dataclass(frozen=True)
class Slurm:
    """The files of a cluster whose jobs stay in the queue until a test removes them."""

    folder: Path

    @property
    def queue(self) -> Path:
        return self.folder / "queue"

    def jobs(self) -> list[tuple[str, str]]:
        """Return the id and SLURM name of each job in the queue."""
        rows = [line.split("|") for line in self.queue.read_text().splitlines()]
        return [(row[0], row[1]) for row in rows]

    def submission_environment(self) -> str:
        """Return the environment of the newest sbatch, one variable per line."""
        return (self.folder / "submission.env").read_text()

    def remove(self, name: str) -> None:
        """Remove the jobs with a SLURM name from the queue."""
        lines = [line for line in self.queue.read_text().splitlines() if line.split("|")[1] != name]
        self.queue.write_text("".join(f"{line}\n" for line in lines))

    def fail(self, command: str, times: int) -> None:
        """Make the next calls of a command fail."""
        (self.folder / f"{command}_failures").write_text("no answer\n" * times)


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Slurm:
    """A cluster that runs no jobs."""
    fake = Slurm(tmp_path / "slurm")
    (fake.folder / "bin").mkdir(parents=True)
    fake.queue.touch()
    for name, lines in COMMANDS.items():
        failures = f"{name}_failures"
        fail = f"[ ! -s {failures} ] || {{ sed -i 1d {failures}; echo no answer >&2; exit 1; }}"
        command = fake.folder / "bin" / name
        command.write_text("\n".join(["#!/bin/sh", f'cd "{fake.folder}"', fail, lines]))
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake
