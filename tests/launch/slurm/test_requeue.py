"""The end of a batch script: jobs that requeue.sh requeues, tested with fake squeue and scontrol commands."""

import os
import subprocess
from pathlib import Path

import pytest

from configs.schema import Cluster
from launch.slurm.job import JobFiles
from launch.slurm.submit import setup, teardown
from launch.snapshot import HERE

ARRAY = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "20"}


@pytest.fixture
def end_job(tmp_path):
    """Return a function that runs a batch script whose srun ends with a status; `lines` are those of cluster.setup."""
    commands = tmp_path / "bin"
    commands.mkdir()

    def end(status: int, state: str = "RUNNING", lines=(), **variables: str) -> subprocess.CompletedProcess:
        lines_of = {
            "squeue": f"echo {state}",
            "scontrol": 'echo "scontrol $*"',
            "sleep": f"echo $1 >> {tmp_path}/pauses",
        }
        for name, line in lines_of.items():
            failures = tmp_path / f"{name}_failures"  # one line per call that fails
            fail = f"[ ! -s {failures} ] || {{ sed -i 1d {failures}; echo no answer >&2; exit 1; }}"
            (commands / name).write_text(f"#!/bin/sh\n{fail}\n{line}\n")
            (commands / name).chmod(0o755)
        cluster = Cluster(setup=list(lines), fruitless_restarts=1)
        script = "\n".join([*setup(cluster, HERE, tmp_path), f"(exit {status})", "", *teardown(HERE)])
        environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
        environment |= variables
        environment["PATH"] = f"{commands}:{os.environ['PATH']}"
        return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)

    return end


def restarts(folder: Path, job_id: str) -> list[str]:
    file = JobFiles(folder, job_id).restarts
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("variables, job_id", [({"SLURM_JOB_ID": "17"}, "17"), (ARRAY, "17_3")])
def test_an_interrupted_job_is_requeued(end_job, tmp_path, variables, job_id):
    process = end_job(138, **variables)
    assert process.returncode == 0 and process.stdout.endswith(f"requeued\nscontrol requeue {job_id}\n")
    assert restarts(tmp_path, job_id) == ["ended with status 138"]


@pytest.mark.parametrize("status, state, code", [(0, "RUNNING", 0), (1, "RUNNING", 1), (143, "COMPLETING", 143)])
def test_a_complete_failed_or_canceled_job_is_not_requeued(end_job, tmp_path, status, state, code):
    process = end_job(status, state, SLURM_JOB_ID="17")
    assert process.returncode == code and not process.stdout and restarts(tmp_path, "17") == []


def test_a_job_with_a_lasting_error_is_not_requeued(end_job, tmp_path):
    JobFiles(tmp_path, "17").failed.touch()
    process = end_job(137, SLURM_JOB_ID="17")
    assert process.returncode == 1 and not process.stdout and restarts(tmp_path, "17") == []


def test_a_job_without_progress_is_given_up(end_job, tmp_path):
    assert "scontrol requeue 17" in end_job(137, SLURM_JOB_ID="17").stdout
    process = end_job(137, SLURM_JOB_ID="17")
    assert process.returncode == 1 and not process.stdout
    assert process.stderr == "giving up after 2 interruptions without progress\n"


@pytest.mark.parametrize("variables", [{"SLURM_JOB_ID": "17"}, ARRAY])
def test_shell_options_of_the_setup_do_not_prevent_requeueing(end_job, variables):
    process = end_job(138, lines=["set -euo pipefail"], **variables)
    assert process.returncode == 0 and "scontrol requeue 17" in process.stdout, process.stderr


@pytest.mark.parametrize("command", ["squeue", "scontrol"])
def test_a_command_that_slurm_does_not_answer_is_repeated(command, end_job, tmp_path):
    (tmp_path / f"{command}_failures").write_text("once\ntwice\n")
    process = end_job(138, SLURM_JOB_ID="17")
    assert process.returncode == 0 and "scontrol requeue 17" in process.stdout, process.stderr
    assert restarts(tmp_path, "17") == ["ended with status 138"]


@pytest.mark.parametrize("command", ["squeue", "scontrol"])
def test_a_command_is_repeated_within_signal_seconds(command, end_job, tmp_path):
    (tmp_path / f"{command}_failures").write_text("again\n" * 100)
    process = end_job(138, SLURM_JOB_ID="17")
    assert process.returncode != 0 and "scontrol requeue 17" not in process.stdout and "no answer" in process.stderr
    assert 20 < sum(map(int, (tmp_path / "pauses").read_text().split())) < 60
