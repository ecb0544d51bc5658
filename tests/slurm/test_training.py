"""Interrupted training jobs: each is requeued, resumes, and ends with the weights of an uninterrupted training."""

import os
import random
import signal
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from configs.load import load
from configs.schema import Experiment
from launch.jobs import Train
from launch.plan import plan
from launch.slurm import queue
from launch.slurm.submit import SlurmRun, cancel
from records.layout import SeedFolder, saved_steps, seed_folder
from records.tracking.points import last_step, read_points
from train.trainer import train

STEPS, EVERY = 240, 60
OPTIONS = [
    "seeds=[0]",
    "train.log_every=10",
    "train.checkpoints.at=[]",
    f"train.checkpoints.strides=[{{every: {EVERY}}}]",
    "train.state_every_minutes=0.02",
]
ONLY_ON_SIGNALS = ["train.state_every_minutes=100"]
PREEMPTIBLE = ["cluster.partition=low", "cluster.gpus_per_node=2", "cluster.processes_per_node=1"]
INTERRUPTIONS = {  # options of the training that is interrupted
    "time-out": ["train.steps=100000", "cluster.train_timeout_hours=0.0166", "cluster.signal_seconds=20"],
    "signal": [f"train.steps={STEPS}", *ONLY_ON_SIGNALS],
    "preemption": [f"train.steps={STEPS}", *ONLY_ON_SIGNALS, *PREEMPTIBLE],
    "requeue": [f"train.steps={STEPS}"],
    "kill": [f"train.steps={STEPS}"],
}


@dataclass(frozen=True)
class Training:
    experiment: Experiment
    job: str

    @property
    def folder(self) -> SeedFolder:
        return seed_folder(self.experiment, 0)

    @property
    def step(self) -> int:
        return last_step(self.folder.log)

    @property
    def state(self) -> str:
        entries = queue.entries([f"{self.experiment.name}-train-seed-0"])
        return next((entry.state for entry in entries if entry.id == self.job), "ended")

    @property
    def restarts(self) -> int:
        states = queue.call("sacct", "-nPX", "--duplicates", "--format=State", f"--jobs={self.job}")
        return states.count("REQUEUED") + states.count("PREEMPTED")


@pytest.fixture(scope="module")
def submit_training(tmp_path_factory, slurm_arguments, load_arguments):
    """Return a function that submits the training of a study, without its other jobs."""
    folder = tmp_path_factory.mktemp("trainings")

    def submit(name: str, *overrides: str) -> Training:
        experiment = load_arguments(slurm_arguments(folder, *OPTIONS, f"name={name}", *overrides))
        jobs = [job for job in plan(experiment) if isinstance(job.work, Train)]
        (submission,) = SlurmRun(experiment, {}).submit(jobs)
        return Training(experiment, submission.id)

    return submit


@pytest.fixture(scope="module")
def interrupted(submit_training, wait_until, pid_of) -> Iterator[dict[str, Training]]:
    """One training per kind of interruption, after it was interrupted; all of them run at the same time."""
    trainings = {name: submit_training(name, *overrides) for name, overrides in INTERRUPTIONS.items()}
    interrupt_at = {name: random.randint(20, STEPS // 2) for name in INTERRUPTIONS if name != "time-out"}

    def all_interrupted() -> bool:
        """Interrupt each training that has reached its step, long before it can end."""
        for name in [name for name, step in interrupt_at.items() if trainings[name].step >= step]:
            print(f"{name}: at step {trainings[name].step}")
            interrupt(name, trainings[name], pid_of)
            del interrupt_at[name]
        return not interrupt_at

    wait_until(all_interrupted, pause_s=0.1)
    for training in trainings.values():
        wait_until(lambda training=training: training.restarts)
    yield trainings
    for training in trainings.values():
        if training.state != "ended":
            queue.cancel([training.job])


def interrupt(kind: str, training: Training, pid_of) -> None:
    if kind == "signal":
        queue.call("scancel", "--signal=USR2", training.job)
    elif kind == "preemption":
        queue.call("sbatch", "--partition=main", "--gres=gpu:2", "--output=/dev/null", "--wrap=sleep 1")
    elif kind == "requeue":
        queue.call("scontrol", "requeue", training.job)
    elif kind == "kill":
        os.kill(pid_of(training.job), signal.SIGKILL)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, command_line):
    """Return a function that returns the folder of an uninterrupted local training to at least a number of steps."""
    folder = tmp_path_factory.mktemp("uninterrupted")

    def train_to(steps: int):
        config, *overrides = command_line(folder, *OPTIONS, *ONLY_ON_SIGNALS, f"train.steps={steps}")
        experiment = load(config, overrides)
        run = seed_folder(experiment, 0)
        if last_step(run.log) < steps:
            train(experiment)
        return run

    return train_to


def test_training_resumes_after_the_time_limit(interrupted, uninterrupted, wait_until):
    """A real limit of one minute: SLURM sends its signal, and the job starts again."""
    training = interrupted["time-out"]
    (stopped_at,) = saved_steps(training.folder.state)[-1:]
    step = max((stopped_at // EVERY + 1) * EVERY, 2 * EVERY)  # every training has at least two checkpoints
    wait_until(lambda: training.folder.checkpoint(step).exists())
    cancel(training.experiment)
    log = next(training.folder.root.parent.glob("jobs/20*/*_log.err")).read_text()
    assert "stopped by SIGUSR2 after step" in log
    assert_equal_checkpoints(training, uninterrupted(step), step)


@pytest.mark.parametrize("kind", [name for name in INTERRUPTIONS if name != "time-out"])
def test_resume_is_bit_exact(kind, interrupted, uninterrupted, wait_until):
    training = interrupted[kind]
    wait_until(lambda: training.state == "ended")
    assert training.restarts == 1
    assert_equal_checkpoints(training, uninterrupted(STEPS), STEPS)
    log = training.folder.log
    # The uninterrupted training may be longer, for the test of the time limit.
    assert last_step(log) == STEPS and uninterrupted(STEPS).log.read_bytes().startswith(log.read_bytes())


def assert_equal_checkpoints(training: Training, expected: SeedFolder, last: int) -> None:
    """Check that all checkpoints up to step `last` are equal, byte for byte."""
    steps = [step for step in saved_steps(expected.checkpoints) if step <= last]
    assert steps and steps[-1] == last
    for step in steps:
        for name in ("model", "ema_0.99"):
            file, expected_file = (run.checkpoint(step) / f"{name}.safetensors" for run in (training.folder, expected))
            assert file.read_bytes() == expected_file.read_bytes(), f"step {step}"


def test_two_tasks_train_like_one(submit_training, uninterrupted, wait_until, pid_of):
    """The job is stopped once, and one task is killed once: the other task must not wait for it forever."""
    training = submit_training(
        "two", "train.steps=200", "cluster.processes_per_node=2", "train.state_every_minutes=0.02"
    )
    wait_until(lambda: training.step >= 20)
    queue.call("scancel", "--signal=USR2", training.job)
    wait_until(lambda: training.restarts == 1 and training.state == "RUNNING")
    (stopped_at,) = saved_steps(training.folder.state)[-1:]
    wait_until(lambda: training.step >= stopped_at + 20)
    os.kill(pid_of(training.job, rank=1), signal.SIGKILL)
    wait_until(lambda: training.restarts == 2)
    wait_until(lambda: training.state == "ended")
    points = read_points(training.folder.log)
    expected_points = [point for point in read_points(uninterrupted(200).log) if point["step"] <= 200]
    assert [point["step"] for point in points] == [point["step"] for point in expected_points]
    for point, expected in zip(points, expected_points, strict=True):
        assert point == pytest.approx(expected, rel=1e-3), f"step {point['step']}"


def test_a_job_without_progress_is_given_up(submit_training, wait_until):
    """Its task is killed at the start of every attempt."""
    killed = "cluster.srun_args=[bash,-c,'kill -9 $$']"
    training = submit_training("no-progress", f"train.steps={STEPS}", "cluster.fruitless_restarts=1", killed)
    wait_until(lambda: training.state == "ended")
    assert training.restarts == 1 and not training.folder.root.exists()
    (log,) = training.folder.root.parent.glob("jobs/20*/*_log.err")
    assert "giving up after 2 interruptions without progress" in log.read_text()
