"""A prepared set is whole or not there, made by one process only, and not taken for another one."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError

MANY = 20_000


@pytest.fixture
def many(picture):
    """A folder of so many images that preparing them can be interrupted."""
    source = picture("0.png", size=(64, 64))
    for number in range(1, MANY):
        os.link(source / "0.png", source / f"{number}.png")
    return source


@pytest.fixture
def command(repository, tmp_path, root):
    """A function: starts `python -m train.datasets` in a session of its own."""
    config = tmp_path / "study.yaml"
    model = "{image_size: 16, channel_mult: [1, 2], attention_resolutions: [8]}"
    config.write_text(f"data: {{name: folder, root: {root}, workers: 2}}\nmodel: {model}\n")

    def start(*overrides: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "train.datasets", config, *overrides],
            env={**os.environ, "PYTHONPATH": str(repository)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # A background job of a shell is deaf to Ctrl-C, and so would be what it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    return start


def wait_for(condition, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def wait_until_midway(process, root) -> None:
    def begun() -> bool:
        return any(file.stat().st_size > 9999 for file in root.glob(".partial-*/images.npy"))

    wait_for(begun, "nothing was begun")
    assert process.poll() is None and not (root / "folder_16").exists()


def children(process) -> list[int]:
    return [int(one) for one in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_kill_9_midway_leaves_nothing_that_is_taken_for_whole(many, command, prepare, root, names):
    process = command(f"data.source={many}")
    wait_until_midway(process, root)
    workers = children(process)
    process.kill()
    process.communicate()
    assert workers and not (root / "folder_16").exists()
    wait_for(lambda: not any(map(alive, workers)), "the processes that read images are still there")
    assert len(prepare("folder", many, side=16).images) == MANY
    assert names() == ["folder_16"]


def test_ctrl_c_midway_leaves_nothing(many, command, root, names):
    process = command(f"data.source={many}")
    wait_until_midway(process, root)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in errors
    assert names() == []


def test_a_second_process_waits_for_the_first(many, command, root):
    first = command(f"data.source={many}")
    wait_until_midway(first, root)
    first.send_signal(signal.SIGSTOP)  # or it may have ended before the other one has begun
    second = command(f"data.source={many}")
    waiting = second.stderr.readline()
    first.send_signal(signal.SIGCONT)
    (told, errors_1), (told_too, errors_2) = first.communicate(timeout=60), second.communicate(timeout=60)
    assert (first.returncode, second.returncode) == (0, 0), errors_1 + errors_2
    assert told == told_too == f"{root}/folder_16: {MANY:,} images of 16×16 pixels; channels: 3; classes: 1\n"
    assert f"waiting for another process (preparing {root}/folder_16, process {first.pid} " in waiting
    assert "preparing" in errors_1 and "images/s" not in errors_2


def test_leftovers_of_other_sets_stay(picture, prepare, root, names):
    for name in ("folder_4-12345678", "folder_40-12345678", "cifar10_32-12345678"):
        (root / f".partial-{name}").mkdir(parents=True)
    prepare("folder", picture("a.png"), side=4)
    assert names() == [".partial-cifar10_32-12345678", ".partial-folder_40-12345678", "folder_4"]


def test_digits_say_what_they_are(prepare):
    made = prepare("digits", side=8, channels=1)
    assert made.images.shape == (1797, 1, 8, 8) and made.images.dtype == np.uint8 and made.labels.dtype == np.int64
    assert made.about["name"] == "digits" and made.about["source"] == "scikit-learn" and made.about["classes"] == 10
    for name, digest in made.about["sha256"].items():
        assert hashlib.sha256((made.folder / name).read_bytes()).hexdigest() == digest
    np.save(made.folder / "copy.npy", made.images)
    assert (made.folder / "copy.npy").read_bytes() == (made.folder / "images.npy").read_bytes(), "as numpy writes it"


def test_a_prepared_set_needs_its_source_no_more(picture, prepare):
    source = picture("a.png")
    made = prepare("folder", source, side=4)
    (source / "a.png").unlink()
    changed = (made.folder / "images.npy").stat().st_mtime_ns
    assert len(prepare("folder", source, side=4).images) == len(prepare("folder", side=4).images) == 1
    assert (made.folder / "images.npy").stat().st_mtime_ns == changed


def test_another_source_is_another_set(picture, prepare, tmp_path):
    source = picture("a.png")
    prepare("folder", source, side=4)
    with pytest.raises(UserError, match=f"was made from {source}, not from data.source={tmp_path}; remove that folder"):
        prepare("folder", tmp_path, side=4)


def test_more_labels_than_the_model_has_classes(picture, prepare):
    for name in ("a_1.png", "b_1.png"):
        source = picture(name)
    assert prepare("folder", source, side=4, classes=2).labels.tolist() == [0, 1]
    with pytest.raises(UserError, match=r"has 2 classes, more than model.num_classes=1; set model.num_classes=2"):
        prepare("folder", source, side=4, classes=1)


def cut(file) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def lengthen(file) -> None:
    file.write_bytes(file.read_bytes() + b"\0")


def replace(file) -> None:
    file.write_bytes(b"something else") if file.suffix == ".json" else np.save(file, np.zeros(3))


def remove(file) -> None:
    file.unlink()


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("harm", [cut, lengthen, replace, remove])
def test_damage_is_seen(harm, name, picture, prepare):
    made = prepare("folder", picture("a.png"), side=4)
    if (harm, name) == (cut, "about.json"):
        (made.folder / name).write_text((made.folder / name).read_text()[:-9])
    else:
        harm(made.folder / name)
    with pytest.raises(UserError, match=r"folder_4 is damaged \(.*\); remove that folder, and it is prepared again"):
        prepare("folder", side=4)


def test_the_command_sees_a_single_changed_bit(picture, prepare, command):
    made = prepare("folder", picture("a.png"), side=16)
    content = bytearray((made.folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (made.folder / "images.npy").write_bytes(content)
    told, errors = (process := command()).communicate(timeout=60)
    assert (process.returncode, told) == (2, "")
    assert errors == (
        f"error: {made.folder} is damaged (the digest of images.npy is not that in about.json); "
        "remove that folder, and it is prepared again\n"
    )


def test_a_root_that_cannot_be_written(picture, prepare, root):
    root.write_text("a file")
    with pytest.raises(UserError, match=r"data.root= chooses where it is kept"):
        prepare("folder", picture("a.png"), side=4)


def test_about_is_text_whatever_the_file_names(picture, prepare):
    source = picture("a/1.png")
    os.makedirs(os.fsencode(source) + b"/b\xff")
    os.link(source / "a" / "1.png", os.fsencode(source) + b"/b\xff/1.png")
    made = prepare("folder", source, side=4)
    assert made.about["class_names"] == ["a", "b\N{REPLACEMENT CHARACTER}"]
    assert json.loads((made.folder / "about.json").read_text(encoding="utf-8")) == made.about
