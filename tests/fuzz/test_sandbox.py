"""The sandbox reports errors, memory, time, written files and crashes."""

import ctypes
import time
from pathlib import Path

import numpy as np
import pytest
from fuzz.reader import Reader, by_name
from fuzz.sandbox import Outcome, run_cases

from configs.errors import UserError


def write(folder: Path) -> None:
    (folder / "file").write_bytes(b"0123456789")


def on_damage(react):
    """Return a reader that reacts to damaged files only."""
    return lambda folder: None if (folder / "file").exists() and is_sound(folder / "file") else react(folder)


def is_sound(file: Path) -> bool:
    return file.read_bytes() == b"0123456789"


def reject(folder: Path) -> None:
    raise UserError("damaged")


def hide_memory(folder: Path) -> None:
    try:
        np.ones(2**30)
    except MemoryError as error:
        raise UserError(str(error)) from None


def hang(folder: Path) -> None:
    time.sleep(60)


def write_two(folder: Path) -> None:
    write(folder)
    (folder / "unread").write_bytes(b"sound")


def check_unread(folder: Path) -> None:
    assert (folder / "unread").read_bytes() == b"sound"


READERS = by_name(
    Reader("accepts", write, lambda folder: None),
    Reader("rejects", write, on_damage(reject)),
    Reader("reads one", write_two, check_unread, reads=lambda name: name == "file"),
    Reader("fails", write, on_damage(lambda folder: {}["key"])),
    Reader("allocates", write, on_damage(hide_memory)),
    Reader("hangs", write, on_damage(hang), case_s=1.0),
    Reader("crashes", write, on_damage(lambda folder: ctypes.string_at(0))),
    Reader("escapes", write, on_damage(lambda folder: (folder.parent / "escaped").touch())),
)


def test_accepted_and_rejected_cases_are_counted(tmp_path):
    assert run_cases("fuzz.test_sandbox", "accepts", tmp_path, 10, 0) == Outcome(10, 0, "")
    outcome = run_cases("fuzz.test_sandbox", "rejects", tmp_path, 10, 0)
    assert outcome.rejected >= 8 and outcome.accepted + outcome.rejected == 10 and outcome.failure == ""


def test_files_that_are_not_read_stay_sound(tmp_path):
    assert run_cases("fuzz.test_sandbox", "reads one", tmp_path, 10, 0) == Outcome(10, 0, "")


@pytest.mark.parametrize(
    ("name", "failure"),
    [
        ("fails", "KeyError: \"'key'\""),
        ("allocates", "needs much memory: Unable to allocate 8.00 GiB"),
        ("crashes", "the process ended with status -11"),
        ("escapes", "a file was written outside of the folder"),
    ],
)
def test_failures_are_reported(name, failure, tmp_path):
    assert failure in run_cases("fuzz.test_sandbox", name, tmp_path, 10, 0).failure


def test_reader_that_takes_long_is_ended(tmp_path):
    outcome = run_cases("fuzz.test_sandbox", "hangs", tmp_path, 10, 0)
    assert outcome.failure.startswith("took too long; the files are in") and "in hang" in outcome.failure
