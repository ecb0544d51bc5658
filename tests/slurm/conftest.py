"""A real SLURM of one node, started for these tests alone: `make test-slurm`."""

import functools
import io
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

import launch.commands as launch_commands
from configs.command import dispatch
from configs.load import load
from configs.schema import Experiment
from launch.slurm.submit import in_queue

HERE = Path(__file__).parent
SWITCH = "NOISEMAP_TEST_SLURM"
OPTIONS = ["cluster.cpus_per_task=1", "cluster.gpus_per_node=0", "cluster.max_parallel=2"]


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[Path]:
    """A cluster with accounting; the folder that it lives in."""
    if SWITCH not in os.environ:
        pytest.skip("no SLURM is started by `make test`; `make test-slurm` does")
    with started("accounting") as folder:
        yield folder


@pytest.fixture(scope="session")
def without_accounting(slurm):
    """A function: another cluster, which keeps no accounts, for as long as its context lasts."""
    return started


@contextmanager
def started(*how: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="noisemap-slurm-"))
    folder.chmod(0o755)  # pytest's own folders are closed to the user that the accounts belong to
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            said = subprocess.run([HERE / "start.sh", folder, str(three_free_ports()), *how], stderr=subprocess.PIPE)
            assert said.returncode == 0, said.stderr.decode(errors="replace")
            yield folder
        finally:
            subprocess.run([HERE / "stop.sh", folder], check=True)
    shutil.rmtree(folder)


def three_free_ports() -> int:
    """The first of them."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 60_000, 10):
        try:
            for port in range(first, first + 3):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def asked(command_line):
    """A function: the arguments of a command for a tiny experiment on SLURM that is kept below a folder."""

    def arguments(folder: Path, *overrides: str) -> list[str]:
        return ["--cluster", "slurm", *command_line(folder, *OPTIONS, *overrides)]

    return arguments


@pytest.fixture(scope="session")
def loaded():
    """A function: the experiment that arguments of a command ask for."""

    def experiment(arguments: list[str]) -> Experiment:
        flag, profile, config, *overrides = arguments
        assert flag == "--cluster"
        return load(config, overrides, profile)

    return experiment


@pytest.fixture(scope="session")
def launch():
    """A function: what `python -m launch …` says, in this process since starting one takes seconds."""

    def said(*arguments: str) -> str:
        with redirect_stdout(io.StringIO()) as stream:
            dispatch(launch_commands, "study", list(arguments))
        return stream.getvalue()

    return said


@pytest.fixture(scope="session")
def launch_process(repository):
    """A function: starts `python -m launch …` as a process, in some folder."""

    def process(*arguments: str, cwd: Path = repository) -> subprocess.Popen:
        command = [sys.executable, "-m", "launch", *arguments]
        return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return process


@pytest.fixture(scope="session")
def wait_until(wait_until):
    """The same with time for SLURM, which is asked in most of these conditions."""
    return functools.partial(wait_until, timeout_s=240, pause_s=0.5)


@pytest.fixture(scope="session")
def wait_for_end(wait_until):
    """A function: returns when no job of a study is in the queue any more."""

    def wait(experiment: Experiment) -> None:
        wait_until(lambda: not in_queue(experiment))

    return wait


@pytest.fixture(scope="session")
def process_of() -> Callable[[str, int], int]:
    """A function: the number of the process that is a job's task of some rank."""

    def number(job: str, rank: int = 0) -> int:
        said = subprocess.run(["scontrol", "listpids", f"{job}.0"], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in said.splitlines()[1:]]
        (found,) = [int(row[0]) for row in rows if row[4] == str(rank)]
        return found

    return number


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """A function: how often each command of SLURM was called so far."""
    calls = tmp_path / "calls"
    calls.touch()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho {name} >> {calls}\nexec {shutil.which(name)} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return lambda: {name: calls.read_text().split().count(name) for name in set(calls.read_text().split())}
