"""Verification of a study's files, and removal of what can be made again."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from analyze.analysis import SeedAnalysis
from analyze.model import analyze_model
from configs.load import to_yaml
from launch.study import launcher_of
from launch.verify import _remove, verify
from records import lock
from records.layout import data_folder, seed_folder
from train import state
from train.datasets import cifar10
from train.datasets.prepared import prepared_folder
from train.trainer import train


def flip_bit(file) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def make_unreadable(file) -> None:
    """Make the opening of a file fail for every user, including root."""
    file.unlink(missing_ok=True)
    file.symlink_to(file)


@pytest.fixture
def experiment(analyzed):
    """An analyzed experiment of one seed with two training states and a log."""
    experiment = analyzed("seeds=[0]")
    folder = seed_folder(experiment, 0)
    for step in (2, 5):
        state.save(folder.state, step, {"value": torch.zeros(3)})
    folder.log.write_text("".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in (2, 4, 6, 8)), encoding="utf-8")
    return experiment


def rows(table: str) -> dict[str, list[str]]:
    """Return the numbers of intact, damaged and missing files of each kind; of several T those of the last."""
    cells = [line.rsplit(maxsplit=3) for line in table.splitlines()[1:] if line[-1].isdigit()]
    return {start.split(maxsplit=1)[1]: numbers for start, *numbers in cells}


def test_intact_files_are_counted(experiment):
    table = rows(verify(experiment, repair=False)[0])
    analysis = SeedAnalysis(experiment, 0)
    count = str(len(analysis.steps))
    assert table["checkpoints"] == table["results"] == [count, "0", "0"]
    assert (
        table["states"] == ["2", "0", "0"] and table["log"] == ["1", "0", "0"] and table["data set"] == ["0", "0", "1"]
    )
    assert int(table["generated tensors"][0]) >= 2 * len(analysis.steps)


def test_damaged_files_are_named_with_their_remedy_and_nothing_is_removed(experiment):
    folder, analysis = seed_folder(experiment, 0), SeedAnalysis(experiment, 0)
    step = analysis.steps[0]
    weights = next(folder.checkpoint(step).glob("*.safetensors"))
    flip_bit(weights)
    flip_bit(folder.state / state.step_name(5) / "state.pt")
    message, damaged = verify(experiment, repair=False)
    assert damaged == 2 and weights.exists()
    assert f"{weights.parent}: {weights.name} is damaged" in message and f"name={experiment.name}_again" in message
    assert f"{folder.state / state.step_name(5)}: its digest does not match digest.json; remove it" in message


def test_repair_removes_what_is_made_again(experiment):
    folder, analysis = seed_folder(experiment, 0), SeedAnalysis(experiment, 0)
    (samples, *_) = sorted(analysis.root.glob("*/generations/**/*.safetensors"))
    samples.write_bytes(samples.read_bytes()[:-5])
    results = analysis.results_file(analysis.steps[0])
    results.write_text("{", encoding="utf-8")
    flip_bit(folder.state / state.step_name(5) / "state.pt")
    text, damaged = verify(experiment, repair=True)
    removed = [samples, results, folder.state / state.step_name(5)]
    assert not any(path.exists() for path in removed) and all(f"removed {path}: " in text for path in removed)
    assert damaged == 0
    table = rows(verify(experiment, repair=False)[0])
    assert table["results"][2] == "1" and table["states"] == ["1", "0", "0"]


def test_the_last_state_of_an_unfinished_training_is_kept(experiment):
    folder = seed_folder(experiment, 0)
    folder.trained(experiment.train.steps).unlink()
    for step in (2, 5):
        flip_bit(folder.state / state.step_name(step) / "state.pt")
    text, damaged = verify(experiment, repair=True)
    assert damaged and f"restore it, or remove {folder.root} to train from the beginning" in text
    assert state.newest_step(folder.state) == 5


def test_a_state_that_cannot_be_read_is_not_removed(experiment, monkeypatch):
    def check(folder) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    monkeypatch.setattr(state, "check", check)
    text, damaged = verify(experiment, repair=True)
    assert damaged == 2 and text.count("Permission denied") == 2 and "make it readable; it may be intact" in text
    assert state.newest_step(seed_folder(experiment, 0).state) == 5


def test_the_last_state_is_kept_if_the_other_one_cannot_be_read(experiment):
    """The one that cannot be read may be intact, and must not be removed with its folder."""
    folder = seed_folder(experiment, 0)
    folder.trained(experiment.train.steps).unlink()
    flip_bit(folder.state / state.step_name(2) / "state.pt")
    make_unreadable(folder.state / state.step_name(5) / "state.pt")
    text, damaged = verify(experiment, repair=True)
    assert damaged == 2 and "digest.json; remove it when another state can be read" in text
    assert rows(text)["states"] == ["0", "2", "0"] and f"remove {folder.root}" not in text


def test_the_log_of_a_training_that_lost_its_newest_state_is_intact(experiment):
    """Training resumed from the older state and is writing these points again."""
    folder = seed_folder(experiment, 0)
    folder.trained(experiment.train.steps).unlink()
    flip_bit(folder.state / state.step_name(5) / "state.pt")
    folder.log.write_text('{"step": 2, "loss": 1.0}\n', encoding="utf-8")
    text, damaged = verify(experiment, repair=True)
    assert damaged == 0 and rows(text)["log"] == ["1", "0", "0"]


def test_a_tensor_that_cannot_be_read_is_not_removed(experiment):
    (samples, *_) = sorted(SeedAnalysis(experiment, 0).root.glob("*/generations/**/*.safetensors"))
    make_unreadable(samples)
    text, damaged = verify(experiment, repair=True)
    assert damaged == 1 and samples.is_symlink() and "symbolic links" in text and "it may be intact" in text


@pytest.fixture
def prepared(experiment) -> Path:
    """The prepared data set of the experiment."""
    return prepared_folder(experiment.data, experiment.model)


def test_a_damaged_data_set_that_can_be_prepared_again_is_removed(experiment, prepared):
    flip_bit(prepared / "images.npy")
    text, damaged = verify(experiment, repair=True)
    reason = "damaged (the digest of images.npy does not match about.json)"
    assert damaged == 0 and not prepared.exists() and f"removed {prepared}: {reason}" in text


def test_a_data_set_whose_description_cannot_be_read_is_not_removed(experiment, prepared):
    make_unreadable(prepared / "about.json")
    text, damaged = verify(experiment, repair=True)
    assert damaged == 1 and prepared.exists() and "make it readable; it may be intact" in text


@pytest.mark.parametrize(
    ("name", "source", "recorded", "is_removed"),
    [
        ("folder", "pictures", "pictures", True),
        ("folder", "pictures", "others", False),
        ("folder", "absent", "absent", False),
        ("folder", None, "pictures", False),
        ("folder", "pictures", None, True),  # about.json is damaged
        ("cifar10", None, cifar10.URL, True),
        ("cifar10", None, "pictures", False),
    ],
)
def test_a_data_set_is_only_removed_if_its_source_exists(
    name, source, recorded, is_removed, experiment, prepared, tmp_path
):
    (tmp_path / "pictures").mkdir()
    experiment.data.name, experiment.data.source = name, source and str(tmp_path / source)
    damaged_set = prepared.rename(data_folder(experiment.data, experiment.model))
    about = json.loads((damaged_set / "about.json").read_text(encoding="utf-8"))
    about |= {"source": recorded if recorded == cifar10.URL else str(tmp_path / str(recorded)), "sha256": {}}
    (damaged_set / "about.json").write_text(json.dumps(about) if recorded else "{", encoding="utf-8")
    text, damaged = verify(experiment, repair=True)
    assert (damaged == 0, damaged_set.exists()) == (is_removed, not is_removed)
    remedy = f"{damaged_set}: damaged (the digest of images.npy does not match about.json); restore it"
    assert is_removed or f"{remedy}, or remove it if its source still exists" in text


def test_a_checkpoint_in_the_folder_of_another_step_is_damaged(experiment):
    folder = seed_folder(experiment, 0)
    shutil.rmtree(folder.checkpoint(2))
    shutil.copytree(folder.checkpoint(5), folder.checkpoint(2))
    text, damaged = verify(experiment, repair=False)
    assert (
        damaged
        and f"{folder.checkpoint(2)} contains the checkpoint of step 5; train it again, with as many processes, by "
        in text
    )


@pytest.mark.parametrize("name", ["checkpoint.json", "model.safetensors"])
def test_a_checkpoint_that_cannot_be_read_need_not_be_trained_again(experiment, name):
    make_unreadable(seed_folder(experiment, 0).checkpoint(2) / name)
    text, damaged = verify(experiment, repair=True)
    assert damaged == 1 and f"{name} cannot be read: " in text
    assert "make it readable; it may be intact" in text and "train seed" not in text


def test_a_changed_digit_of_a_result_is_noticed_and_the_result_computed_again(experiment):
    analysis = SeedAnalysis(experiment, 0)
    step, stored = analysis.steps[0], analysis.results(analysis.steps[0])
    file = analysis.results_file(step)
    content, number = file.read_text(encoding="utf-8"), str(stored["distances"]["values"]["image_noise"])
    file.write_text(content.replace(number, f"1{number}"), encoding="utf-8")
    text, _ = verify(experiment, repair=False)
    assert f"{file}: its digest does not match its content; remove it to measure again" in text
    assert step in analysis.missing()
    analysis.analyze([step])
    assert analysis.results(step) == stored


def test_every_damaged_file_has_its_line(experiment, tmp_path, start):
    (tmp_path / "tiny.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    analysis = SeedAnalysis(experiment, 0)
    for step in analysis.steps:
        analysis.results_file(step).write_text("{", encoding="utf-8")
    output, error = start("launch", "verify", str(tmp_path / "tiny.yaml")).communicate(timeout=60)
    assert [line.endswith("remove it to measure again") for line in output.splitlines()].count(True) == 4
    assert error == "error: 4 damaged; every line above ends with the remedy\n"


def test_repair_waits_for_a_launch(experiment, tmp_path, start):
    (tmp_path / "tiny.yaml").write_text(to_yaml(experiment), encoding="utf-8")
    launcher = launcher_of(experiment)
    with lock.hold(launcher.lock, launcher.holder, 0):
        process = start("launch", "verify", str(tmp_path / "tiny.yaml"), "--repair")
        assert process.stdout.readline() == f"waiting for another launch of this experiment: {launcher.holder}\n"
        assert process.poll() is None
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "checkpoints" in output


def test_deleted_checkpoints_are_named(experiment):
    shutil.rmtree(seed_folder(experiment, 0).checkpoint(2))
    table, _ = verify(experiment, repair=False)
    assert "seed 0: deleted and not trained again: steps 2\n" in f"{table}\n"
    assert rows(table)["checkpoints"][2] == "0"


@pytest.mark.parametrize(
    ("line", "reason"), [("{\n", "line 5 is damaged; remove this line"), ('{"step": 8}\n', "its steps do not increase")]
)
def test_a_damaged_log_is_named(experiment, line, reason):
    with open(seed_folder(experiment, 0).log, "a", encoding="utf-8") as log:
        log.write(line)
    text, damaged = verify(experiment, repair=True)
    assert damaged and reason in text


@pytest.mark.parametrize(("content", "lost"), [(None, "4 of 4"), ("", "4 of 4"), (1, "1 of 4")])
def test_a_log_that_ends_before_the_training_is_named(experiment, content, lost):
    log = seed_folder(experiment, 0).log
    *points, _ = log.read_text(encoding="utf-8").splitlines(keepends=True)
    log.unlink() if content is None else log.write_text("".join(points) if content else "", encoding="utf-8")
    text, damaged = verify(experiment, repair=True)
    assert damaged == 1 and f"{log}: {lost} points are missing, the first is of step" in text
    assert rows(text)["log"] == ["0", "1", "0"]


def test_converted_checkpoints_need_no_log(experiment):
    folder = seed_folder(experiment, 0)
    folder.log.unlink()
    shutil.rmtree(folder.state)
    text, damaged = verify(experiment, repair=False)
    assert damaged == 0 and rows(text)["log"] == ["0", "0", "0"]


def test_files_that_killed_commands_left_are_removed_after_an_hour(experiment):
    folder = seed_folder(experiment, 0).analyses
    old, new = (folder / f".partial-{name}" for name in ("old", "new"))
    old.mkdir()
    new.write_bytes(b"")
    hour_ago_s = time.time() - 3700
    os.utime(old, (hour_ago_s, hour_ago_s))
    assert f"removed {old}: " in verify(experiment, repair=True)[0]
    assert not old.exists() and new.exists()


def test_a_partial_folder_and_its_partial_files_are_one_unfinished_file(experiment):
    folder = seed_folder(experiment, 0).analyses / ".partial-folder"
    folder.mkdir()
    (folder / ".partial-file").touch()
    hour_ago_s = time.time() - 3700
    for path in (folder / ".partial-file", folder):
        os.utime(path, (hour_ago_s, hour_ago_s))
    text, damaged = verify(experiment, repair=True)
    assert damaged == 0 and text.count("removed ") == 1 and not folder.exists()


@pytest.fixture
def vanishing(experiment, monkeypatch) -> Path:
    """The folder of a tensor, which another process removes as soon as its content is listed."""
    folder, scandir = next(SeedAnalysis(experiment, 0).root.glob("*/generations/*/inversions")), os.scandir

    def scan(path="."):
        if str(path) == str(folder):
            shutil.rmtree(folder, ignore_errors=True)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", scan)
    return folder


def test_folders_may_vanish_meanwhile(experiment, vanishing):
    """The jobs of the study may be running."""
    assert verify(experiment, repair=False)[1] == 0 and not vanishing.exists()


def test_files_may_vanish_meanwhile(experiment, monkeypatch):
    """States rotate, and slices are joined."""

    def remove(path) -> None:
        shutil.rmtree(path)
        raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))

    monkeypatch.setattr(state, "check", remove)
    monkeypatch.setattr("launch.verify.safe_open", lambda file, framework: remove(file.parent))
    text, damaged = verify(experiment, repair=True)
    assert damaged == 0 and "removed" not in text and rows(text)["states"] == ["0", "0", "0"]


def test_the_removal_of_a_vanished_file_does_nothing(tmp_path):
    _remove(tmp_path / "absent")


def test_files_of_a_model_study_are_verified_and_repaired(study):
    _, analyses = analyze_model(study())
    analysis = analyses[-1]
    (samples, *_) = sorted(analysis.generations_folder.glob("**/samples.safetensors"))
    samples.write_bytes(samples.read_bytes()[:-5])
    analysis.results_file(analysis.last_step).write_text("{", encoding="utf-8")
    assert verify(study(), repair=False)[1] == 2
    assert f"removed {samples}: " in verify(study(), repair=True)[0]
    table, _ = verify(study(), repair=False)
    assert table.splitlines()[0].split()[0] == "T" and rows(table)["results"] == ["0", "0", "1"]
    analyze_model(study())
    assert rows(verify(study(), repair=False)[0])["results"] == ["1", "0", "0"]


def test_a_damaged_checkpoint_can_be_made_again_with_the_command_in_its_remedy(tiny):
    experiment = tiny("seeds=[10]", "wandb.mode=disabled")
    train(replace(experiment, seed=10))
    path = seed_folder(experiment, 10).checkpoint(2)
    digests = {file.name: file.read_bytes() for file in path.iterdir()}
    flip_bit(next(path.glob("*.safetensors")))
    remedy = re.search(r"by  python (.*)  and replace it by (.*)", verify(experiment, repair=True)[0])
    subprocess.run([sys.executable, *shlex.split(remedy[1])], check=True, capture_output=True)
    shutil.rmtree(path)
    shutil.copytree(remedy[2], path)
    assert verify(experiment, repair=False)[1] == 0
    assert {file.name: file.read_bytes() for file in path.iterdir()} == digests


def test_a_model_verified_without_its_sweep_has_a_note(study):
    analyze_model(study("sweep=[4]"))
    assert "nothing is stored for T" not in verify(study("sweep=[4]"), repair=False)[0]
    assert "nothing is stored for T = 2; if the study has other T, set sweep=" in verify(study(), repair=False)[0]
