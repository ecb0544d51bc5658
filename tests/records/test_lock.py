"""The lock is one process's at a time, and free as soon as that process is gone."""

import subprocess
import sys
import time

import pytest

from records.lock import Busy, describe_process, hold, is_held_by


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "lock"


@pytest.fixture
def other(path, repository):
    """Another process that holds the lock until it is killed."""
    holds = f"""
import pathlib, time
from records.lock import hold
with hold(pathlib.Path({str(path)!r}), "the other", 0):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", holds], cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_busy_while_another_process_holds_it(path, other):
    with pytest.raises(Busy, match=r"^the other$"), hold(path, "this one", 0):
        pass
    assert path.read_text() == "the other"


def test_free_as_soon_as_its_holder_is_killed(path, other):
    assert is_held_by(path, "the other")
    other.kill()
    other.wait()
    assert not is_held_by(path, "the other")
    with hold(path, "this one", 0):
        assert path.read_text() == "this one"


def test_waits_for_a_holder_that_ends_in_time(path, other):
    start = time.monotonic()
    with pytest.raises(Busy), hold(path, "this one", 0.3):
        pass
    assert time.monotonic() - start >= 0.3
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {other.pid}"])
    with hold(path, "this one", 10):
        assert time.monotonic() - start >= 0.6
    killer.wait()


def test_busy_within_one_process_too(path):
    with hold(path, "first", 0), pytest.raises(Busy, match="first"), hold(path, "second", 0):
        pass


def test_free_after_an_exception(path):
    with pytest.raises(RuntimeError), hold(path, "first", 0):
        raise RuntimeError
    with hold(path, "second", 0):
        pass


def test_is_held_by_knows_the_holder(path):
    assert not is_held_by(path, "this one")  # no file yet
    with hold(path, "this one", 0):
        assert is_held_by(path, "this one")
        assert not is_held_by(path, "this")
    assert not is_held_by(path, "this one")


def test_a_shorter_name_leaves_nothing_of_a_longer_one(path):
    with hold(path, "a long name", 0):
        pass
    with hold(path, "short", 0):
        assert path.read_text() == "short"


def test_a_process_names_its_work_and_itself():
    assert describe_process("training").startswith("training, process ")
