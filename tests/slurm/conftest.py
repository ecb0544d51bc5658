"""A real SLURM cluster on this machine for these tests: `make test-slurm`."""

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
from launch.slurm import queue
from launch.slurm.submit import in_queue

HERE = Path(__file__).parent
SWITCH = "NOISEMAP_TEST_SLURM"
OPTIONS = ["cluster.cpus_per_task=1", "cluster.gpus_per_node=0", "cluster.max_parallel=2"]


@pytest.fixture(scope="session", autouse=True)
def slurm() -> Iterator[Path]:
    """The folder of a running cluster with accounting."""
    if SWITCH not in os.environ:
        pytest.skip("needs SLURM: run `make test-slurm`")
    with running_cluster("accounting") as folder:
        yield folder


@pytest.fixture(scope="session")
def other_cluster(slurm):
    """Return a context manager that runs another cluster, with the options of start.sh, and returns its folder."""
    return running_cluster


@contextmanager
def running_cluster(*options: str) -> Iterator[Path]:
    """Start a cluster and stop it at the end; `options` are those of start.sh."""
    folder = Path(tempfile.mkdtemp(prefix="noisemap-slurm-"))
    folder.chmod(0o755)  # pytest's own folders are not readable for the database user
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        try:
            command = [HERE / "start.sh", folder, str(four_free_ports()), *options]
            process = subprocess.run(command, stderr=subprocess.PIPE)
            assert process.returncode == 0, process.stderr.decode(errors="replace")
            yield folder
        finally:
            subprocess.run([HERE / "stop.sh", folder], check=True)
    shutil.rmtree(folder)


def four_free_ports() -> int:
    """Return the first of four consecutive free ports."""
    for first in range(20_000 + os.getpid() % 1000 * 10, 60_000, 10):
        try:
            for port in range(first, first + 4):
                with socket.socket() as server:
                    server.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise AssertionError("no free ports")


@pytest.fixture(scope="session")
def slurm_arguments(command_line):
    """Return a function that returns the arguments of `python -m launch` for a tiny experiment on SLURM."""

    def arguments(folder: Path, *overrides: str) -> list[str]:
        return ["--cluster", "slurm", *command_line(folder, *OPTIONS, *overrides)]

    return arguments


@pytest.fixture(scope="session")
def load_arguments():
    """Return a function that loads the experiment of a command's arguments."""

    def experiment(arguments: list[str]) -> Experiment:
        flag, profile, config, *overrides = arguments
        assert flag == "--cluster"
        return load(config, overrides, profile)

    return experiment


@pytest.fixture(scope="session")
def launch():
    """Return a function that runs `python -m launch …` in this process, which is faster, and returns its output."""

    def run(*arguments: str) -> str:
        with redirect_stdout(io.StringIO()) as stream:
            dispatch(launch_commands, "study", list(arguments))
        return stream.getvalue()

    return run


@pytest.fixture(scope="session")
def launch_process(repository):
    """Return a function that starts `python -m launch …` as a process, in any folder."""

    def process(*arguments: str, cwd: Path = repository) -> subprocess.Popen:
        command = [sys.executable, "-m", "launch", *arguments]
        return subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    return process


@pytest.fixture(scope="session")
def wait_until(wait_until):
    """Return a function that waits for a condition, with the long timeout and pause that calls of SLURM need."""
    return functools.partial(wait_until, timeout_s=600, pause_s=0.5)


@pytest.fixture(scope="session")
def wait_for_end(wait_until):
    """Return a function that waits until no job of a study is in the queue."""

    def wait(experiment: Experiment) -> None:
        wait_until(lambda: not in_queue(experiment))

    return wait


@pytest.fixture(scope="session")
def pid_of() -> Callable[[str, int], int]:
    """Return a function that returns the process id of a job's task."""

    def find_pid(job: str, rank: int = 0) -> int:
        number = queue.call("squeue", "--noheader", f"--jobs={job}", "--format=%A").strip()  # also of 17_3
        output = queue.call("scontrol", "listpids", f"{number}.0")
        rows = [line.split() for line in output.splitlines()[1:]]
        (pid,) = [int(row[0]) for row in rows if row[4] == str(rank)]
        return pid

    return find_pid


@pytest.fixture
def call_counts(tmp_path, monkeypatch):
    """Return a function that returns how often each command of SLURM has been called."""
    calls = tmp_path / "calls"
    calls.touch()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\necho {name} >> {calls}\nexec {shutil.which(name)} "$@"\n')
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return lambda: {name: calls.read_text().split().count(name) for name in set(calls.read_text().split())}
