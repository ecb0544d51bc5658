"""Training jobs, interrupted in every way there is: each goes on by itself and ends as if nothing had happened."""

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
from records.layout import saved_steps, seed_folder
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
WAYS = {  # how it is interrupted: overrides
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
    def folder(self):
        return seed_folder(self.experiment, 0)

    @property
    def step(self) -> int:
        return last_step(self.folder.log)

    @property
    def state(self) -> str:
        return {entry.id: entry.state for entry in queue.entries([f"{self.experiment.name}-train-seed-0"])}.get(
            self.job, "ended"
        )

    @property
    def restarts(self) -> int:
        said = queue.call("sacct", "-nPX", "--duplicates", "--format=State", f"--jobs={self.job}")
        return said.count("REQUEUED") + said.count("PREEMPTED")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory, asked, loaded):
    """A function: a training that SLURM has, and nothing else of its study."""
    folder = tmp_path_factory.mktemp("trainings")

    def submit_study(name: str, *overrides: str) -> Training:
        experiment = loaded(asked(folder, *OPTIONS, f"name={name}", *overrides))
        jobs = [job for job in plan(experiment) if isinstance(job.work, Train)]
        (submission,) = SlurmRun(experiment, {}).submit(jobs)
        return Training(experiment, submission.id)

    return submit_study


@pytest.fixture(scope="module")
def interrupted(submitted, wait_until, process_of) -> Iterator[dict[str, Training]]:
    """A training for each way of interrupting it, after that was done to it; all of them at the same time."""
    trainings = {name: submitted(name, *overrides) for name, overrides in WAYS.items()}
    waiting = {name: random.randint(20, STEPS // 2) for name in WAYS if name != "time-out"}

    def all_interrupted() -> bool:
        """Whichever has come far enough is, before it can have come to its end."""
        for name in [name for name, at in waiting.items() if trainings[name].step >= at]:
            print(f"{name}: at step {trainings[name].step}")
            interrupt(name, trainings[name], process_of)
            del waiting[name]
        return not waiting

    wait_until(all_interrupted, pause_s=0.1)
    for training in trainings.values():
        wait_until(lambda training=training: training.restarts)
    yield trainings
    for training in trainings.values():
        if training.state != "ended":
            queue.cancel([training.job])


def interrupt(how: str, training: Training, process_of) -> None:
    if how == "signal":
        queue.call("scancel", "--signal=USR2", training.job)
    elif how == "preemption":
        queue.call("sbatch", "--partition=main", "--gres=gpu:2", "--output=/dev/null", "--wrap=sleep 1")
    elif how == "requeue":
        queue.call("scontrol", "requeue", training.job)
    elif how == "kill":
        os.kill(process_of(training.job), signal.SIGKILL)


@pytest.fixture(scope="module")
def straight(tmp_path_factory, command_line):
    """A function: the folder of a training to some step or farther on this machine, which nothing interrupts."""
    folder = tmp_path_factory.mktemp("straight")

    def trained(steps: int):
        config, *overrides = command_line(folder, *OPTIONS, *ONLY_ON_SIGNALS, f"train.steps={steps}")
        experiment = load(config, overrides)
        done = seed_folder(experiment, 0)
        if last_step(done.log) < steps:
            train(experiment)
        return done

    return trained


def test_a_time_limit_is_gone_on_from(interrupted, straight, wait_until):
    """A real one, of a minute: SLURM sends its signal, and the job starts again."""
    training = interrupted["time-out"]
    (stopped_at,) = saved_steps(training.folder.state)[-1:]
    step = max((stopped_at // EVERY + 1) * EVERY, 2 * EVERY)  # a training has more than one checkpoint
    wait_until(lambda: training.folder.checkpoint(step).exists())
    cancel(training.experiment)
    said = next(training.folder.root.parent.glob("jobs/20*/*_log.err")).read_text()
    assert "stopped by SIGUSR2 after step" in said
    assert_same(training, straight(step), step)


@pytest.mark.parametrize("how", [name for name in WAYS if name != "time-out"])
def test_it_goes_on_and_ends_with_the_same_weights(how, interrupted, straight, wait_until):
    training = interrupted[how]
    wait_until(lambda: training.state == "ended")
    assert training.restarts == 1
    assert_same(training, straight(STEPS), STEPS)
    logged = training.folder.log.read_bytes()  # the other one may have gone on, for what a time limit allowed
    assert last_step(training.folder.log) == STEPS and straight(STEPS).log.read_bytes().startswith(logged)


def assert_same(training: Training, other, upto: int) -> None:
    """That all checkpoints up to a step are the same, byte for byte."""
    steps = [step for step in saved_steps(other.checkpoints) if step <= upto]
    assert steps and steps[-1] == upto
    for step in steps:
        for name in ("model", "ema_0.99"):
            one, theirs = (folder.checkpoint(step) / f"{name}.safetensors" for folder in (training.folder, other))
            assert one.read_bytes() == theirs.read_bytes(), f"step {step}"


def test_two_tasks_train_what_one_does(submitted, straight, wait_until, process_of):
    """Told to stop once, and with one of the tasks killed once: the other one must not wait for it for ever."""
    training = submitted("two", "train.steps=200", "cluster.processes_per_node=2", "train.state_every_minutes=0.02")
    wait_until(lambda: training.step >= 20)
    queue.call("scancel", "--signal=USR2", training.job)
    wait_until(lambda: training.restarts == 1 and training.state == "RUNNING")
    (stopped_at,) = saved_steps(training.folder.state)[-1:]
    wait_until(lambda: training.step >= stopped_at + 20)
    os.kill(process_of(training.job, rank=1), signal.SIGKILL)
    wait_until(lambda: training.restarts == 2)
    wait_until(lambda: training.state == "ended")
    ours = read_points(training.folder.log)
    theirs = [point for point in read_points(straight(200).log) if point["step"] <= 200]
    assert [point["step"] for point in ours] == [point["step"] for point in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-3), f"step {one['step']}"


def test_a_job_that_gets_nowhere_is_given_up(submitted, wait_until):
    """Its task is killed before it has done anything, again and again."""
    killed = "cluster.srun_args=[bash,-c,'kill -9 $$']"
    training = submitted("nowhere", f"train.steps={STEPS}", "cluster.fruitless_restarts=1", killed)
    wait_until(lambda: training.state == "ended")
    assert training.restarts == 1 and not training.folder.root.exists()
    (log,) = training.folder.root.parent.glob("jobs/20*/*_log.err")
    assert "given up after 2 ends without anything done between them" in log.read_text()
