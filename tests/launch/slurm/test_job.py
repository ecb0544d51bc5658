"""The inside of a SLURM job: the count of restarts without progress, and the port at which processes meet."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from launch.jobs import Work
from launch.slurm.job import JobFiles, SlurmJob, rendezvous_port


def test_progress_resets_the_restarts(tmp_path):
    files = JobFiles(tmp_path, "17_3")
    files.record_progress(10)
    files.restarts.write_text("ended with status 137\n")
    files.record_progress(10)
    assert files.restarts.exists()
    files.record_progress(20)
    assert not files.restarts.exists()


def test_jobs_of_a_node_meet_at_different_ports():
    """Linux gives ports from 32,768 to outgoing connections; ports below 1,024 belong to the system."""
    ports = [rendezvous_port(job_id) for job_id in range(67_000_000, 67_020_000)]
    assert len(set(ports)) == len(ports)
    assert min(ports) >= 1024 and max(ports) < 32_768


@dataclass(frozen=True)
class Killed(Work):
    """Work that lists the results of its job, and is killed."""

    study: Any = None
    threads: int = 1

    def run(self) -> None:
        folder = Path(os.environ["SUBMITIT_FOLDER"])
        raise KeyboardInterrupt(sorted(file.name for file in folder.glob("*_result.pkl")))


@pytest.mark.parametrize("rank", [0, 1])
def test_a_job_that_starts_again_removes_its_old_result(rank, tmp_path, monkeypatch):
    """It would be shown as its failure if the job is canceled; each process has its own."""
    for number in range(2):
        (tmp_path / f"17_{number}_result.pkl").touch()
    variables = {"SLURM_JOB_ID": "17", "SLURM_PROCID": str(rank), "SLURM_NTASKS": "1", "SUBMITIT_EXECUTOR": "slurm"}
    for name, value in (variables | {"SUBMITIT_FOLDER": str(tmp_path)}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("launch.slurm.job.exit_on_signal", lambda number: None)
    with pytest.raises(KeyboardInterrupt, match=f"17_{1 - rank}_result") as error:
        SlurmJob(Killed())()
    assert len(error.value.args[0]) == 1
