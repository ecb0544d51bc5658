"""Training runs: their files, and resume that is bit for bit equal to an uninterrupted run."""

import json
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from configs.load import load, to_yaml
from configs.schema import Experiment
from records import run_lock
from records.atomic import file_digest, read_json, write_json, write_text
from records.layout import SeedFolder, data_folder, model_file, saved_steps, seed_folder
from records.tracking.points import read_points
from train import state, throughput
from train.log import TrainingLog
from train.trainer import train

LONG = ["train.steps=60", "train.checkpoints.at=[0,2,31]", "train.state_every_minutes=0", "train.ema_rates=[0.99,0.5]"]


@pytest.fixture(scope="module")
def trained_once(tmp_path_factory, command_line):
    """A folder with a completely trained run."""
    config, *options = command_line(tmp_path_factory.mktemp("trained"))
    experiment = load(config, options)
    train(experiment)
    return seed_folder(experiment, 0).root.parent.parent.parent


@pytest.fixture
def trained(trained_once, tmp_path, tiny) -> Experiment:
    """A completely trained run in this test's folder."""
    shutil.copytree(trained_once, tmp_path, dirs_exist_ok=True)
    return tiny()


def folder(experiment: Experiment) -> SeedFolder:
    return seed_folder(experiment, experiment.seed)


def checkpoints(experiment: Experiment) -> dict[str, bytes]:
    """Return all weights files of a run, by step and name."""
    root = folder(experiment).checkpoints
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.glob("*/*.safetensors"))}


def test_checkpoints_are_written_at_scheduled_steps_only(trained):
    assert saved_steps(folder(trained).checkpoints) == [0, 2, 5, 8]
    assert list(folder(trained).checkpoints.iterdir()) and folder(trained).is_trained(8)
    assert checkpoints(trained).keys() == {
        f"{step:09d}/{name}.safetensors" for step in (0, 2, 5, 8) for name in ("ema_0.99", "model")
    }


def test_folder_without_training_accepts_another_configuration(tiny):
    """A start that failed on its data leaves such a folder."""
    with pytest.raises(UserError, match="/absent does not exist"):
        train(tiny("data.name=folder", "data.source=/absent"))
    experiment = tiny("model.model_channels=6")
    folder(experiment).log.write_text('{"step": 2}\n')  # as after a kill before the first checkpoint
    with pytest.raises(UserError, match="created with a different configuration"):
        train(experiment)
    folder(experiment).log.unlink()
    train(experiment)
    assert folder(experiment).is_trained(8)


def test_members_of_a_group_can_write_each_others_files(tiny):
    experiment = tiny("train.sample_every=4")
    others = os.umask(0o002)
    try:
        train(experiment)
    finally:
        os.umask(others)
    closed = [path for path in folder(experiment).root.rglob("*") if not path.stat().st_mode & stat.S_IWGRP]
    assert folder(experiment).is_trained(8) and closed == []


def test_shorter_training_needs_an_existing_checkpoint(trained, tiny):
    """If the run has a checkpoint at the smaller train.steps, training is complete; otherwise it is an error."""
    before = checkpoints(trained)
    with pytest.raises(UserError, match=r"already trained to step 8 and has no checkpoint at train\.steps=6; .*name"):
        train(tiny("train.steps=6"))
    assert not folder(trained).is_trained(5)
    train(tiny("train.steps=5", "train.checkpoints.at=[0,2,5]"))
    assert folder(trained).is_trained(5) and checkpoints(trained) == before


def test_ema_checkpoints_follow_the_weights(tiny):
    experiment = tiny("train.checkpoints.at=[0,1,2,3,4,5,6,7]")
    train(experiment)
    average = None
    for step in range(9):
        path = folder(experiment).checkpoint(step)
        weights, ema = load_file(path / "model.safetensors"), load_file(path / "ema_0.99.safetensors")
        if average is None:
            average = first = weights
        average = {name: 0.99 * average[name] + 0.01 * value for name, value in weights.items()}
        torch.testing.assert_close(ema, average)
    assert any(not torch.equal(weights[name], value) for name, value in first.items())


def test_log_has_every_second_step(trained):
    """The learning rate is that of the last step done; its warmup takes three steps."""
    points = read_points(folder(trained).log)
    assert [point["step"] for point in points] == [2, 4, 6, 8]
    assert [point["images"] for point in points] == [8, 16, 24, 32]
    assert [point["lr"] for point in points] == pytest.approx([1e-2 * 2 / 3, 1e-2, 1e-2, 1e-2])
    assert all(
        point["loss"] == pytest.approx(point["mse"] + point["vb"]) and point["grad_norm"] > 0 for point in points
    )


def test_throughput_does_not_include_the_replay(tiny, monkeypatch):
    """Sending the earlier points to W&B takes minutes in a long run."""
    replay_s = 1000.0
    late = SimpleNamespace(monotonic=lambda: time.monotonic() + replay_s)
    monkeypatch.setattr(TrainingLog, "replay", lambda self: monkeypatch.setattr(throughput, "time", late))
    experiment = tiny()
    train(experiment)
    first = read_points(folder(experiment).speed)[0]
    assert first["step"] * experiment.train.batch_size / first["images_per_s"] < replay_s


def test_completed_run_is_unchanged_by_a_rerun(trained):
    before = {file: file.stat().st_mtime_ns for file in folder(trained).checkpoints.rglob("*")}
    log = folder(trained).log.read_bytes()
    train(trained)
    assert before == {file: file.stat().st_mtime_ns for file in before} and folder(trained).log.read_bytes() == log


def test_seeds_train_separate_runs(trained, tiny):
    """Images, noise and initial weights depend on the seed."""
    other = tiny("seed=10")
    train(other)
    assert checkpoints(other).keys() == checkpoints(trained).keys()
    assert read_points(folder(other).log)[0]["loss"] != read_points(folder(trained).log)[0]["loss"]


@pytest.mark.parametrize(
    "override",
    ["train.lr=5e-3", "model.dropout=0.2", "train.batch_size=8", "train.ema_rates=[0.5,0.99]", "data.half=first"],
)
def test_different_configuration_is_rejected(override, trained, tiny):
    key = override.partition("=")[0]
    before = checkpoints(trained)
    message = rf"seed_0 was created with a different configuration \({key}: .*, now "
    with pytest.raises(UserError, match=message) as error:
        train(tiny(override))
    assert "name=" in str(error.value) and checkpoints(trained) == before


def test_longer_training_resumes(trained, tiny):
    """The result equals a run that was configured with the larger train.steps from the start."""
    longer = tiny("train.steps=12")
    train(longer)
    uninterrupted = tiny("train.steps=12", "train.checkpoints.at=[0,2,5,8]", "name=uninterrupted")
    train(uninterrupted)
    assert checkpoints(longer) == checkpoints(uninterrupted)
    assert folder(longer).log.read_bytes() == folder(uninterrupted).log.read_bytes()


def test_a_run_resumes_without_the_weights_from_which_it_started(trained, tiny, tmp_path):
    source = folder(trained).checkpoint(5).rename(tmp_path / "source")
    options = ["name=fine-tuned", f"train.init_from={source}"]
    train(tiny(*options))
    shutil.rmtree(source)
    train(tiny(*options, "train.steps=12"))
    assert folder(tiny(*options)).is_trained(12)
    with pytest.raises(UserError, match=r"train\.init_from=.*/source does not exist"):
        train(tiny(*options, "name=new"))


def test_removed_last_checkpoint_is_written_again(trained):
    before = checkpoints(trained)
    shutil.rmtree(folder(trained).checkpoint(8))
    assert not folder(trained).is_trained(8)
    train(trained)
    assert checkpoints(trained) == before and folder(trained).is_trained(8)


def test_damaged_newest_state_resumes_from_the_one_before(tiny, capsys):
    experiment = tiny("train.state_every_minutes=0")
    train(experiment)
    before, log = checkpoints(experiment), folder(experiment).log.read_bytes()
    shutil.rmtree(folder(experiment).checkpoint(8))
    state = folder(experiment).state / "000000008" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    train(experiment)
    assert f"warning: {state} cannot be read" in capsys.readouterr().err
    assert checkpoints(experiment) == before and folder(experiment).log.read_bytes() == log


def test_trained_run_without_its_state_is_not_trained_again(trained, tiny):
    before = checkpoints(trained)
    shutil.rmtree(folder(trained).state)
    for experiment in (trained, tiny("train.steps=12")):
        with pytest.raises(UserError, match=r"seed_0 is trained to step 8 and has no training state to continue from"):
            train(experiment)
    assert checkpoints(trained) == before


@pytest.mark.parametrize(("images_per_s", "rejected"), [(0.01, True), (0.04, False)])
def test_unfinished_run_without_its_state_is_not_trained_again(images_per_s, rejected, tiny):
    """Unless it was killed before its first state was written: here, 4 steps take 27 or 7 minutes."""
    experiment = tiny("train.state_every_minutes=1")
    for file in (folder(experiment).log, folder(experiment).speed):
        write_text(file, "".join(f'{{"step": {step}, "images_per_s": {images_per_s}}}\n' for step in (2, 4)))
    before = folder(experiment).log.read_bytes()
    message = r"seed_0 was trained for 27 min and has no training state to continue from; restore .*seed_0/state, give"
    with pytest.raises(UserError, match=message) if rejected else nullcontext():
        train(experiment)
    assert rejected == (folder(experiment).log.read_bytes() == before)


def test_unfinished_run_is_trained_again_if_its_first_state_was_due_later(tiny):
    """It was started with a longer interval between states than that of the command."""
    experiment = tiny("train.state_every_minutes=1")
    for file in (folder(experiment).log, folder(experiment).speed):
        write_text(file, "".join(f'{{"step": {step}, "images_per_s": 0.01}}\n' for step in (2, 4)))
    write_text(folder(experiment).config, to_yaml(tiny("train.state_every_minutes=30")))
    train(experiment)
    assert folder(experiment).is_trained(8)


def test_a_damaged_record_of_the_configuration_can_be_removed(trained, tiny):
    before, file = checkpoints(trained), folder(trained).config
    file.write_text(file.read_text().replace("learned_range", "learned_ringe"))
    with pytest.raises(
        UserError, match=r"Invalid value 'learned_ringe' \(expected learned_range .*; .* or remove it if"
    ):
        train(trained)
    file.unlink()
    train(trained)
    assert checkpoints(trained) == before and "learned_range" in file.read_text()


def test_run_does_not_resume_on_other_images(trained, tiny, tmp_path):
    """The prepared images are replaced between the two commands."""
    other = tmp_path / "other"
    shutil.copytree(trained.data.root, other)
    folder = other / data_folder(trained.data, trained.model).name
    np.save(folder / "images.npy", 255 - np.load(folder / "images.npy"))
    about = read_json(folder / "about.json")
    about["sha256"]["images.npy"] = file_digest(folder / "images.npy")
    write_json(folder / "about.json", about)
    message = r"seed_0 was trained on other images or labels than those in .*other/digits_8; restore them, .* name=…"
    with pytest.raises(UserError, match=message):
        train(tiny("train.steps=12", f"data.root={other}"))


def test_folder_of_a_pretrained_model_is_rejected(tiny):
    experiment = tiny()
    write_json(model_file(experiment), {})
    with pytest.raises(UserError, match=r"digits contains the analysis of a pretrained model; .* another name="):
        train(experiment)


@pytest.mark.parametrize("change", [{"network": {}}, {"optimizer": None}, {"emas": {}}, {"statistics": 3}])
def test_state_of_another_training_is_a_user_error(change, trained):
    states = folder(trained).state
    saved = torch.load(states / "000000008" / "state.pt", weights_only=True) | change
    shutil.rmtree(states)
    state.save(states, saved.pop("step"), saved)
    with pytest.raises(
        UserError, match=r"state/000000008 does not fit this training \(.*\); give the experiment another name=…"
    ):
        train(trained)


def test_non_finite_loss_stops_the_run_and_keeps_good_checkpoints(tiny):
    experiment = tiny("train.lr=1e30")
    with pytest.raises(UserError, match=r"the loss of step \d+ is not finite"):
        train(experiment)
    for name, value in load_file(folder(experiment).checkpoint(0) / "model.safetensors").items():
        assert value.isfinite().all(), name
    assert not folder(experiment).is_trained(8)


def test_locked_run_folder_is_rejected(trained, repository, monkeypatch):
    monkeypatch.setattr(run_lock, "TIMEOUT_S", 0.2)
    script = f"""
import pathlib, time
from records.lock import hold
with hold(pathlib.Path({str(folder(trained).lock)!r}), "another training", 0):
    print("held", flush=True)
    time.sleep(120)
"""
    other = subprocess.Popen([sys.executable, "-c", script], cwd=repository, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"seed_0 is in use by another process: another training$"):
            train(trained)
    finally:
        other.kill()
        other.communicate()


def test_resume_after_kill_is_bit_exact(tiny, command_line, tmp_path, start, wait_until):
    """The run is killed three times at random steps, with dropout, two EMA rates and a state saved after every step."""
    killed, uninterrupted = tiny(*LONG, "name=killed"), tiny(*LONG, "name=uninterrupted")
    targets = sorted(random.sample(range(1, 55), 3))
    print(f"killed after steps {targets}")
    for target in targets:
        process = start("train", *command_line(tmp_path, *LONG, "name=killed"))
        wait_until(lambda target=target: max(saved_steps(folder(killed).state), default=0) >= target)
        time.sleep(random.random() / 50)
        process.kill()
        process.wait()
    final = start("train", *command_line(tmp_path, *LONG, "name=killed"))
    _, errors = final.communicate(timeout=120)
    assert final.returncode == 0, errors
    train(uninterrupted)
    assert checkpoints(killed) == checkpoints(uninterrupted) and len(checkpoints(killed)) == 4 * 3
    assert folder(killed).log.read_bytes() == folder(uninterrupted).log.read_bytes()
    last = json.loads(folder(killed).log.read_text().splitlines()[-1])
    assert last["step"] == 60 and folder(killed).is_trained(60)
