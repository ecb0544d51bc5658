"""Training with several processes equals training with one, with all random operations enabled."""

import os
import signal

import pytest

from records.layout import saved_steps, seed_folder
from records.tracking.points import read_points

OPTIONS = ["train.log_every=1", "train.batch_size=8", "data.horizontal_flip=true", "model.dropout=0.3"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "train"]


@pytest.fixture
def points(tiny, tmp_path, command_line, start):
    """A function that trains with a launcher and some overrides, and returns the logged points."""

    def train_points(*command: str, overrides: list[str]) -> list[dict]:
        process = start(*command, *command_line(tmp_path, *OPTIONS, *overrides))
        _, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        return read_points(seed_folder(tiny(*overrides), 0).log)

    return train_points


def assert_close(actual: list[dict], expected: list[dict]) -> None:
    assert [point["step"] for point in actual] == [point["step"] for point in expected]
    for point, expected_point in zip(actual, expected, strict=True):
        assert point == pytest.approx(expected_point, rel=1e-4), f"step {point['step']}"


def test_two_processes_log_the_same_losses_as_one(points):
    single = points("train", overrides=["name=single"])
    assert_close(points(*TORCHRUN, overrides=["name=two"]), single)
    assert_close(points("train", overrides=["name=accumulated", "train.gradient_accumulation_steps=2"]), single)


def test_two_processes_share_importance_sampling(points):
    importance = ["train.loss=vlb", "train.timestep_sampler=loss_second_moment", "diffusion.steps=10"]
    importance += ["analyze.ddim_steps=5", "train.steps=24"]
    single = points("train", overrides=["name=single", *importance])
    assert_close(points(*TORCHRUN, overrides=["name=two", *importance]), single)


def test_resume_with_a_different_number_of_processes(points, tiny, tmp_path, command_line, start, wait_until):
    long = ["train.steps=120", "train.state_every_minutes=100"]
    process = start(*TORCHRUN, *command_line(tmp_path, *OPTIONS, *long, "name=changing"))
    folder = seed_folder(tiny("name=changing"), 0)
    wait_until(lambda: len(read_points(folder.log)) > 20)
    os.kill(process.pid, signal.SIGTERM)  # torchrun forwards it to both processes
    process.communicate(timeout=120)
    (stopped_at,) = saved_steps(folder.state)
    assert 20 <= stopped_at < 120
    uninterrupted = points("train", overrides=[*long, "name=uninterrupted"])
    assert_close(points("train", overrides=[*long, "name=changing"]), uninterrupted)


def test_two_processes_continue_a_mean_that_the_end_of_training_interrupted(points):
    longer, between = ["train.log_every=10", "train.steps=20"], ["name=longer", "train.log_every=10", "train.steps=15"]
    for _ in range(2):  # the second one finds the training complete
        points(*TORCHRUN, overrides=between)
    assert_close(points(*TORCHRUN, overrides=[*between, *longer]), points("train", overrides=["name=once", *longer]))


def test_error_if_the_batch_is_not_divisible(tmp_path, command_line, start):
    process = start(*TORCHRUN, *command_line(tmp_path, "train.batch_size=7"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: train.batch_size=7 is not divisible by 2 processes" in errors
