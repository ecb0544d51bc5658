"""A training run: what it leaves, and that stopping it anywhere changes nothing."""

import json
import random
import shutil
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from configs.load import load
from configs.schema import Experiment
from records.layout import SeedFolder, saved_steps, seed_folder
from records.tracking.points import read_points
from train import trainer
from train.run_folder import is_trained
from train.trainer import train

LONG = ["train.steps=60", "train.checkpoints.at=[0,2,31]", "train.state_every_minutes=0", "train.ema_rates=[0.99,0.5]"]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, command_line):
    """The folder of a run that was trained to its end."""
    config, *options = command_line(tmp_path_factory.mktemp("trained"))
    experiment = load(config, options)
    train(experiment)
    return seed_folder(experiment, 0).root.parent.parent.parent


@pytest.fixture
def trained(trained_once, tmp_path, tiny) -> Experiment:
    """A run that was trained to its end."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tiny()


def folder(experiment: Experiment) -> SeedFolder:
    return seed_folder(experiment, experiment.seed)


def checkpoints(experiment: Experiment) -> dict[str, bytes]:
    """Every weights file of a run, by step and name."""
    root = folder(experiment).checkpoints
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.glob("*/*.safetensors"))}


def test_the_steps_of_the_schedule_are_kept_and_no_others(trained):
    assert saved_steps(folder(trained).checkpoints) == [0, 2, 5, 8]
    assert list(folder(trained).checkpoints.iterdir()) and is_trained(folder(trained), 8)
    assert checkpoints(trained).keys() == {
        f"{step:09d}/{name}.safetensors" for step in (0, 2, 5, 8) for name in ("ema_0.99", "model")
    }


def test_a_folder_in_which_nothing_was_trained_is_free_for_another_configuration(tiny):
    """As after a start that failed on its data."""
    with pytest.raises(UserError, match="/absent does not exist"):
        train(tiny("data.name=folder", "data.source=/absent"))
    experiment = tiny("model.model_channels=6")
    folder(experiment).log.write_text('{"step": 2}\n')  # of a training that was killed before it kept anything
    with pytest.raises(UserError, match="made with another configuration"):
        train(experiment)
    folder(experiment).log.unlink()
    train(experiment)
    assert is_trained(folder(experiment), 8)


def test_a_training_is_not_shortened(trained, tiny):
    """But where it has the checkpoint that a shorter one would end with, that one is done."""
    before = checkpoints(trained)
    with pytest.raises(UserError, match=r"trained to step 8 already and has no checkpoint at train\.steps=6; .*name"):
        train(tiny("train.steps=6"))
    assert not is_trained(folder(trained), 5)
    train(tiny("train.steps=5", "train.checkpoints.at=[0,2,5]"))
    assert is_trained(folder(trained), 5) and checkpoints(trained) == before


def test_the_average_starts_at_the_weights_and_follows_them(tiny):
    experiment = tiny("train.checkpoints.at=[0,1,2,3,4,5,6,7]")
    train(experiment)
    average = None
    for step in range(9):
        path = folder(experiment).checkpoint(step)
        weights, kept = load_file(path / "model.safetensors"), load_file(path / "ema_0.99.safetensors")
        if average is None:
            average = first = weights
        average = {name: 0.99 * average[name] + 0.01 * value for name, value in weights.items()}
        torch.testing.assert_close(kept, average)
    assert any(not torch.equal(weights[name], value) for name, value in first.items())


def test_the_log_has_every_second_step(trained):
    """The learning rate is that of the step before: it grows over the first three."""
    points = read_points(folder(trained).log)
    assert [point["step"] for point in points] == [2, 4, 6, 8]
    assert [point["images"] for point in points] == [8, 16, 24, 32]
    assert [point["lr"] for point in points] == pytest.approx([1e-2 * 2 / 3, 1e-2, 1e-2, 1e-2])
    assert all(
        point["loss"] == pytest.approx(point["mse"] + point["vb"]) and point["grad_norm"] > 0 for point in points
    )


def test_a_run_that_is_done_is_left_alone(trained):
    before = {file: file.stat().st_mtime_ns for file in folder(trained).checkpoints.rglob("*")}
    log = folder(trained).log.read_bytes()
    train(trained)
    assert before == {file: file.stat().st_mtime_ns for file in before} and folder(trained).log.read_bytes() == log


def test_another_seed_is_another_run(trained, tiny):
    """With other images, other noise and other initial weights."""
    other = tiny("seed=10")
    train(other)
    assert checkpoints(other).keys() == checkpoints(trained).keys()
    assert read_points(folder(other).log)[0]["loss"] != read_points(folder(trained).log)[0]["loss"]


@pytest.mark.parametrize(
    "override", ["train.lr=5e-3", "model.dropout=0.2", "train.batch_size=8", "train.ema_rates=[0.5,0.99]"]
)
def test_another_configuration_is_refused(override, trained, tiny):
    key = override.partition("=")[0]
    before = checkpoints(trained)
    with pytest.raises(UserError, match=rf"seed_0 was made with another configuration \({key}: .*, now ") as error:
        train(tiny(override))
    assert "name=" in str(error.value) and checkpoints(trained) == before


def test_a_longer_training_goes_on(trained, tiny):
    """And is the same as if it had been asked for at once."""
    longer = tiny("train.steps=12")
    train(longer)
    at_once = tiny("train.steps=12", "train.checkpoints.at=[0,2,5,8]", "name=at-once")
    train(at_once)
    assert checkpoints(longer) == checkpoints(at_once)
    assert folder(longer).log.read_bytes() == folder(at_once).log.read_bytes()


def test_a_last_checkpoint_that_was_removed_is_written_again(trained):
    before = checkpoints(trained)
    shutil.rmtree(folder(trained).checkpoint(8))
    assert not is_trained(folder(trained), 8)
    train(trained)
    assert checkpoints(trained) == before and is_trained(folder(trained), 8)


def test_a_damaged_newest_state_costs_a_step_and_nothing_else(tiny, capsys):
    experiment = tiny("train.state_every_minutes=0")
    train(experiment)
    before, log = checkpoints(experiment), folder(experiment).log.read_bytes()
    shutil.rmtree(folder(experiment).checkpoint(8))
    state = folder(experiment).state / "000000008" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    train(experiment)
    assert f"warning: {state} cannot be read" in capsys.readouterr().err
    assert checkpoints(experiment) == before and folder(experiment).log.read_bytes() == log


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_what_was_good(tiny):
    experiment = tiny("train.lr=1e30")
    with pytest.raises(UserError, match=r"the loss of step \d+ is not finite"):
        train(experiment)
    for name, value in load_file(folder(experiment).checkpoint(0) / "model.safetensors").items():
        assert value.isfinite().all(), name
    assert not is_trained(folder(experiment), 8)


def test_a_folder_that_is_at_work_is_not_touched(trained, repository, monkeypatch):
    monkeypatch.setattr(trainer, "WAIT_FOR_A_DYING_PROCESS_S", 0.2)
    holds = f"""
import pathlib, time
from records.lock import held
with held(pathlib.Path({str(folder(trained).lock)!r}), "the other one", 0):
    print("held", flush=True)
    time.sleep(120)
"""
    other = subprocess.Popen([sys.executable, "-c", holds], cwd=repository, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"seed_0 is at work already: the other one$"):
            train(trained)
    finally:
        other.kill()
        other.communicate()


def test_killed_and_started_again_it_is_bit_for_bit_the_same(tiny, command_line, tmp_path, start, wait_until):
    """Three times, wherever it just was; with dropout, two averages, and a state saved after every step."""
    killed, straight = tiny(*LONG, "name=killed"), tiny(*LONG, "name=straight")
    targets = sorted(random.sample(range(1, 55), 3))
    print(f"killed after steps {targets}")
    for target in targets:
        process = start("train", *command_line(tmp_path, *LONG, "name=killed"))
        wait_until(lambda target=target: max(saved_steps(folder(killed).state), default=0) >= target)
        time.sleep(random.random() / 50)
        process.kill()
        process.wait()
    done = start("train", *command_line(tmp_path, *LONG, "name=killed"))
    _, said = done.communicate(timeout=120)
    assert done.returncode == 0, said
    train(straight)
    assert checkpoints(killed) == checkpoints(straight) and len(checkpoints(killed)) == 4 * 3
    assert folder(killed).log.read_bytes() == folder(straight).log.read_bytes()
    last = json.loads(folder(killed).log.read_text().splitlines()[-1])
    assert last["step"] == 60 and is_trained(folder(killed), 60)
