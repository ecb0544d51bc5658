"""Several processes train the run that one would, with everything that draws random numbers switched on."""

import os
import signal

import pytest

from records.layout import saved_steps, seed_folder
from records.tracking.points import read_points

OPTIONS = ["train.log_every=1", "train.batch_size=8", "data.horizontal_flip=true", "model.dropout=0.3"]
TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "train"]


@pytest.fixture
def points(tiny, tmp_path, command_line, start):
    """A function: the log of a training with a launcher and some overrides."""

    def trained(*command: str, overrides: list[str]) -> list[dict]:
        process = start(*command, *command_line(tmp_path, *OPTIONS, *overrides))
        _, said = process.communicate(timeout=180)
        assert process.returncode == 0, said
        return read_points(seed_folder(tiny(*overrides), 0).log)

    return trained


def compare(ours: list[dict], theirs: list[dict]) -> None:
    assert [point["step"] for point in ours] == [point["step"] for point in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-4), f"step {one['step']}"


def test_two_processes_log_the_losses_of_one(points):
    one = points("train", overrides=["name=one"])
    compare(points(*TORCHRUN, overrides=["name=two"]), one)
    compare(points("train", overrides=["name=parts", "train.gradient_accumulation_steps=2"]), one)


def test_importance_sampling_is_shared_too(points):
    importance = ["train.loss=vlb", "train.timestep_sampler=loss_second_moment", "diffusion.steps=10"]
    importance += ["analyze.ddim_steps=5", "train.steps=24"]
    one = points("train", overrides=["name=one", *importance])
    compare(points(*TORCHRUN, overrides=["name=two", *importance]), one)


def test_the_number_of_processes_may_change_between_two_starts(points, tiny, tmp_path, command_line, start, wait_until):
    long = ["train.steps=120", "train.state_every_minutes=100"]
    process = start(*TORCHRUN, *command_line(tmp_path, *OPTIONS, *long, "name=changing"))
    folder = seed_folder(tiny("name=changing"), 0)
    wait_until(lambda: len(read_points(folder.log)) > 20)
    os.kill(process.pid, signal.SIGTERM)  # torchrun hands it on to both
    process.communicate(timeout=120)
    (stopped_at,) = saved_steps(folder.state)
    assert 20 <= stopped_at < 120
    compare(points("train", overrides=[*long, "name=changing"]), points("train", overrides=[*long, "name=straight"]))


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path, command_line, start):
    process = start(*TORCHRUN, *command_line(tmp_path, "train.batch_size=7"))
    _, said = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: train.batch_size=7 cannot be shared by 2 processes" in said
