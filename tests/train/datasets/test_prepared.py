"""Prepared datasets: complete or absent, written by a single process, and not confused with each other."""

import dataclasses
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from records.pictures import GAP
from train.datasets import digits
from train.datasets.prepared import READERS

MANY_IMAGES = 20_000


@pytest.fixture
def large_folder(picture):
    """A folder with enough images to interrupt their preparation."""
    source = picture("0.png", size=(64, 64))
    for number in range(1, MANY_IMAGES):
        os.link(source / "0.png", source / f"{number}.png")
    return source


@pytest.fixture
def command(repository, tmp_path, root):
    """A function that starts `python -m train.datasets`, or another module, in a new session."""
    config = tmp_path / "study.yaml"
    model = "{image_size: 16, channel_mult: [1, 2], attention_resolutions: [8]}"
    config.write_text(f"data: {{name: folder, root: {root}, workers: 2}}\nmodel: {model}\n")

    def start(*overrides: str, module: str = "train.datasets") -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", module, config, *overrides],
            env={**os.environ, "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def wait_for(condition, failure: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, failure
        time.sleep(0.01)


def wait_until_midway(process, root) -> None:
    def has_started() -> bool:
        return any(file.stat().st_size > 9999 for file in root.glob(".partial-*/images.npy"))

    wait_for(has_started, "the process has not started to write")
    assert process.poll() is None and not (root / "folder_16").exists()


def children(process) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def age(path: Path) -> None:
    """Let a file, or a folder and its files, be unchanged for two hours."""
    for each in (*path.rglob("*"), path):
        os.utime(each, (time.time() - 7200,) * 2)


def test_killed_preparation_is_repeated(large_folder, command, prepare, root, names):
    process = command(f"data.source={large_folder}")
    wait_until_midway(process, root)
    workers = children(process)
    process.kill()
    process.communicate()
    assert workers and not (root / "folder_16").exists()
    wait_for(lambda: not any(map(is_alive, workers)), "processes that read images are still running")
    age(next(root.glob(".partial-*")))
    assert len(prepare("folder", large_folder, side=16).images) == MANY_IMAGES
    assert names() == ["folder_16"]


def test_interrupted_preparation_leaves_no_files(large_folder, command, root, names):
    process = command(f"data.source={large_folder}")
    wait_until_midway(process, root)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert names() == []


def test_training_stopped_during_the_preparation_leaves_no_files(large_folder, command, root, names, tmp_path):
    process = command(f"data.source={large_folder}", f"runs={tmp_path}/runs", module="train")
    wait_until_midway(process, root)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert errors.endswith("error: stopped by SIGTERM before the first step; rerun the same command to resume\n")
    assert names() == []


def test_second_process_waits_for_the_first(large_folder, command, root):
    first = command(f"data.source={large_folder}")
    wait_until_midway(first, root)
    first.send_signal(signal.SIGSTOP)  # it must not finish before the second process starts
    second = command(f"data.source={large_folder}")
    waiting = second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    (output_1, errors_1), (output_2, errors_2) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), errors_1 + errors_2
    summary = f"{root}/folder_16: {MANY_IMAGES:,} images of 16×16 pixels; channels: 3; classes: 1\n"
    assert output_1 == output_2 == summary
    assert f"waiting for another process (preparing {root}/folder_16, process {first.pid} " in waiting
    assert "preparing" in errors_1 and "images/s" not in errors_2


def test_without_locks_two_processes_prepare_the_same_dataset(prepare, names, monkeypatch):
    """The second one starts and ends while the first one is writing."""

    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    def read(*arguments):
        raw = digits.read(*arguments)

        def batches():
            monkeypatch.setitem(READERS, "digits", digits.read)
            prepare("digits", side=8, channels=1)
            yield from raw.batches

        return dataclasses.replace(raw, batches=batches())

    monkeypatch.setattr(fcntl, "flock", flock)
    monkeypatch.setitem(READERS, "digits", read)
    assert len(prepare("digits", side=8, channels=1).images) == 1797
    assert names() == ["digits_8"]


def test_partial_folders_of_other_datasets_and_of_running_processes_are_kept(picture, prepare, root, names):
    for name in ("folder_4-12345678", "folder_40-12345678", "cifar10_32-12345678"):
        (root / f".partial-{name}").mkdir(parents=True)
        age(root / f".partial-{name}")
    (root / ".partial-folder_4-87654321").mkdir()
    prepare("folder", picture("a.png"), side=4)
    assert names() == [
        ".partial-cifar10_32-12345678",
        ".partial-folder_4-87654321",
        ".partial-folder_40-12345678",
        "folder_4",
    ]


def test_preview_shows_evenly_spaced_images(prepare):
    prepared = prepare("digits", side=8, channels=1)
    preview = np.asarray(Image.open(prepared.folder / "preview.png"))
    last_tile = preview[-8:, -8:, 0]
    assert preview.shape == (4 * (8 + GAP) - GAP, 16 * (8 + GAP) - GAP, 3)
    assert np.array_equal(preview[:8, :8, 0], prepared.images[0, 0])
    assert np.array_equal(last_tile, prepared.images[-1, 0])


def test_about_describes_the_digits(prepare):
    prepared = prepare("digits", side=8, channels=1)
    assert prepared.images.shape == (1797, 1, 8, 8)
    assert (prepared.images.dtype, prepared.labels.dtype) == (np.uint8, np.int64)
    about = prepared.about
    assert (about["name"], about["source"], about["classes"]) == ("digits", "scikit-learn", 10)
    for name, digest in about["sha256"].items():
        assert hashlib.sha256((prepared.folder / name).read_bytes()).hexdigest() == digest
    np.save(prepared.folder / "copy.npy", prepared.images)
    written, expected = (prepared.folder / name for name in ("images.npy", "copy.npy"))
    assert written.read_bytes() == expected.read_bytes(), "not the format of np.save"


def test_prepared_dataset_does_not_need_its_source(picture, prepare):
    source = picture("a.png")
    prepared = prepare("folder", source, side=4)
    (source / "a.png").unlink()
    mtime_ns = (prepared.folder / "images.npy").stat().st_mtime_ns
    assert len(prepare("folder", source, side=4).images) == len(prepare("folder", side=4).images) == 1
    assert (prepared.folder / "images.npy").stat().st_mtime_ns == mtime_ns


def test_different_source_is_rejected(picture, prepare, tmp_path):
    source = picture("a.png")
    prepare("folder", source, side=4)
    message = f"was prepared from {source}, not from data.source={tmp_path}; remove that folder"
    with pytest.raises(UserError, match=message):
        prepare("folder", tmp_path, side=4)


def test_error_if_the_dataset_has_more_classes_than_the_model(picture, prepare):
    for name in ("a_1.png", "b_1.png"):
        source = picture(name)
    assert prepare("folder", source, side=4, classes=2).labels.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"has 2 classes, more than model.num_classes=1; set model.num_classes=2"):
        prepare("folder", source, side=4, classes=1)


def test_error_if_a_conditional_model_finds_no_classes(picture, prepare, root):
    """One name without an underscore suffices: all images then belong to one class."""
    for name in ("cat_1.png", "dog_1.png", "cover.png"):
        source = picture(name)
    with pytest.raises(UserError, match=r"has a single class, but model\.num_classes=2; .* remove that folder"):
        prepare("folder", source, side=4, classes=2)
    (source / "cover.png").rename(source / "cat_2.png")
    shutil.rmtree(root / "folder_4")  # as the message says, because a prepared folder is used again
    assert prepare("folder", source, side=4, classes=2).about["classes"] == 2


def truncate(file) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def replace(file) -> None:
    file.write_bytes(b"other content") if file.suffix == ".json" else np.save(file, np.zeros(3))


def remove(file) -> None:
    file.unlink()


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("damage", [truncate, lengthen, replace, remove])
def test_damage_is_detected(damage, name, picture, prepare):
    prepared = prepare("folder", picture("a.png"), side=4)
    if (damage, name) == (truncate, "about.json"):
        (prepared.folder / name).write_text((prepared.folder / name).read_text()[:-9])
    else:
        damage(prepared.folder / name)
    with pytest.raises(UserError, match=r"folder_4 is damaged \(.*\); remove that folder to prepare it again"):
        prepare("folder", side=4)


@pytest.mark.parametrize("header", ["{'descr': '|u1', (", "{'descr': '|u1', 'fortran_order': False, 'shape': (-1,)}"])
def test_damaged_header_is_detected(header, picture, prepare):
    prepared = prepare("folder", picture("a.png"), side=4)
    (prepared.folder / "images.npy").write_bytes(
        b"\x93NUMPY\1\0" + bytes([len(header), 0]) + header.encode() + bytes(99)
    )
    with pytest.raises(UserError, match=r"folder_4 is damaged \(images.npy: .*\); remove that folder"):
        prepare("folder", side=4)


@pytest.mark.parametrize("change", [{"images": None}, {"sha256": None}, {"left_out": 3}, {"images": {}}])
def test_about_with_values_of_wrong_types_is_damaged(change, picture, prepare):
    prepared = prepare("folder", picture("a.png"), side=4)
    (prepared.folder / "about.json").write_text(json.dumps(prepared.about | change))
    with pytest.raises(UserError, match=r"is damaged \(about.json is missing or incomplete\)"):
        prepare("folder", side=4)


def test_about_that_cannot_be_read_is_not_called_damaged(picture, prepare):
    """It may be intact; a link to itself cannot be opened by any user."""
    file = prepare("folder", picture("a.png"), side=4).folder / "about.json"
    file.unlink()
    file.symlink_to(file)
    with pytest.raises(OSError, match="symbolic links"):
        prepare("folder", side=4)


def test_command_detects_a_flipped_bit(picture, prepare, command):
    prepared = prepare("folder", picture("a.png"), side=16)
    content = bytearray((prepared.folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (prepared.folder / "images.npy").write_bytes(content)
    output, errors = (process := command()).communicate(timeout=60)
    assert (process.returncode, output) == (2, "")
    assert errors == (
        f"error: {prepared.folder} is damaged (the digest of images.npy does not match about.json); "
        "remove that folder to prepare it again from its source\n"
    )


def test_error_if_the_root_is_not_writable(picture, prepare, root):
    root.write_text("a file")
    with pytest.raises(UserError, match=r"choose another folder with data.root="):
        prepare("folder", picture("a.png"), side=4)


def test_about_is_valid_utf_8_for_any_file_name(picture, prepare):
    source = picture("a/1.png")
    os.makedirs(os.fsencode(source) + b"/b\xff")
    os.link(source / "a" / "1.png", os.fsencode(source) + b"/b\xff/1.png")
    prepared = prepare("folder", source, side=4)
    assert prepared.about["class_names"] == ["a", "b\N{REPLACEMENT CHARACTER}"]
    assert json.loads((prepared.folder / "about.json").read_text(encoding="utf-8")) == prepared.about
