"""Trainings of two nodes with two processes each, the loss of a node, and two studies that share the nodes."""

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from configs.load import load
from configs.schema import Experiment
from launch.jobs import Train
from launch.plan import plan
from launch.slurm import queue
from launch.slurm.submit import SlurmRun, in_queue
from records.layout import SeedFolder, jobs_folder, seed_folder
from records.tracking.points import last_step, read_points
from train.trainer import train

STEPS = 200
OPTIONS = ["seeds=[0]", f"train.steps={STEPS}", "train.log_every=10", "train.state_every_minutes=0.02"]
TWO_NODES = ["cluster.nodes=2", "cluster.processes_per_node=2"]


@dataclass(frozen=True)
class Node:
    """A node of the cluster, which is a daemon with its own processes on this machine."""

    name: str
    cluster: Path

    def lose(self) -> None:
        """Kill the daemon and everything that it runs at once, as by a power failure."""
        daemon = int((self.cluster / f"slurmd-{self.name}.pid").read_text())
        tasks = self._tasks()
        managers = {parent for parent in map(parent_of, tasks) if name_of(parent) == "slurmstepd"}
        for pid in [daemon, *managers, *tasks]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _tasks(self) -> list[int]:
        """Return the processes of jobs on this node."""
        variables = {f"SLURMD_NODENAME={self.name}".encode(), f"SLURM_CONF={self.cluster}/slurm.conf".encode()}
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if variables <= set(environment.read_bytes().split(b"\0")):
                    found.append(int(environment.parent.name))
        return found

    def restore(self) -> None:
        """Start the daemon again."""
        path = f"{os.environ['PATH']}:/usr/sbin"
        subprocess.run(["slurmd", "-N", self.name], check=True, env=os.environ | {"PATH": path})


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def nodes(other_cluster) -> list[Node]:
    """Two nodes in SLURM's order; the batch script of a job that uses both runs on the first."""
    with other_cluster("two-nodes") as folder:
        names = queue.call("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N").split()
        yield [Node(name, folder) for name in names]


@pytest.fixture
def submit_training(nodes, tmp_path, slurm_arguments, load_arguments):
    """Return a function that submits a training with two processes on each of two nodes, and returns its job."""

    def submit(name: str) -> tuple[Experiment, str]:
        experiment = load_arguments(slurm_arguments(tmp_path, *OPTIONS, *TWO_NODES, f"name={name}"))
        (submission,) = SlurmRun(experiment, {}).submit(
            [job for job in plan(experiment) if isinstance(job.work, Train)]
        )
        return experiment, submission.id

    return submit


@pytest.fixture(scope="module")
def one_process(tmp_path_factory, command_line) -> SeedFolder:
    """The folder of an uninterrupted training in this process."""
    config, *overrides = command_line(tmp_path_factory.mktemp("one"), *OPTIONS)
    experiment = load(config, overrides)
    train(experiment)
    return seed_folder(experiment, 0)


def assert_like_one_process(experiment: Experiment, one_process: SeedFolder) -> None:
    points, expected_points = (read_points(folder.log) for folder in (seed_folder(experiment, 0), one_process))
    assert [point["step"] for point in points] == [point["step"] for point in expected_points]
    for point, expected in zip(points, expected_points, strict=True):
        assert point == pytest.approx(expected, rel=1e-3), f"step {point['step']}"


def test_two_trainings_share_two_nodes_and_equal_one_process(submit_training, one_process, wait_for_end, nodes):
    """At the same time, so that their processes must not meet at the same port."""
    trainings = [submit_training(name) for name in ("first", "second")]
    details = [queue.call("scontrol", "show", "job", job) for _, job in trainings]
    assert all("NumNodes=2" in detail for detail in details)
    for experiment, _ in trainings:
        wait_for_end(experiment)
        assert_like_one_process(experiment, one_process)


@pytest.mark.parametrize("lost", [0, 1])
def test_training_survives_the_loss_of_a_node(lost, submit_training, one_process, wait_until, wait_for_end, nodes):
    """The job waits in the queue until the node is back, and continues from its last saved state."""
    experiment, job = submit_training(f"lost-{lost}")
    folder = seed_folder(experiment, 0)
    wait_until(lambda: last_step(folder.log) >= 40, pause_s=0.1)
    nodes[lost].lose()
    wait_until(lambda: "PENDING" in queue.call("squeue", "--noheader", f"--jobs={job}", "--format=%T"))
    assert last_step(folder.log) < STEPS
    nodes[lost].restore()
    wait_for_end(experiment)
    survivor = 2 if lost == 0 else 0
    (log,) = jobs_folder(experiment).glob(f"20*/{job}_{survivor}_log.err")
    assert "the connection to another process of this training was lost" in log.read_text()
    assert "Traceback" not in log.read_text()
    assert_like_one_process(experiment, one_process)


def test_two_studies_share_the_nodes(nodes, tmp_path, slurm_arguments, load_arguments, launch, wait_for_end):
    """Canceling one study does not touch the other, and it can be launched again while its job is still ending."""
    first, second = (slurm_arguments(tmp_path, "seeds=[0]", f"name={name}") for name in ("first", "second"))
    for arguments in (first, second):
        launch(*arguments)
    launch("cancel", *second[2:])
    assert {entry.state for *_, entry in in_queue(load_arguments(second)).values()} <= {"COMPLETING"}
    assert in_queue(load_arguments(first))
    launch(*second)
    for arguments in (first, second):
        experiment = load_arguments(arguments)
        wait_for_end(experiment)
        assert not SeedAnalysis(experiment, 0).missing()
        assert (jobs_folder(experiment).parent / "report" / "index.html").exists()
