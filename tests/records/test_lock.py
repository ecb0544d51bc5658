"""Exclusive locks that are released when their process ends."""

import errno
import fcntl
import subprocess
import sys
import time

import pytest

from records import lock
from records.lock import Busy, describe_process, hold, is_held_by


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "lock"


@pytest.fixture
def other(path, repository):
    """Process that holds the lock until the test kills it."""
    code = f"""
import pathlib, time
from records.lock import hold
with hold(pathlib.Path({str(path)!r}), "the other", 0):
    print("held", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_hold_raises_busy_while_another_process_holds_the_lock(path, other):
    with pytest.raises(Busy, match=r"^the other$"), hold(path, "this one", 0):
        pass
    assert path.read_text() == "the other"


def test_lock_is_free_after_its_holder_is_killed(path, other):
    assert is_held_by(path, "the other")
    other.kill()
    other.wait()
    assert not is_held_by(path, "the other")
    with hold(path, "this one", 0):
        assert path.read_text() == "this one"


def test_hold_waits_for_the_holder_up_to_the_timeout(path, other):
    start = time.monotonic()
    with pytest.raises(Busy), hold(path, "this one", 0.3):
        pass
    assert time.monotonic() - start >= 0.3
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {other.pid}"])
    with hold(path, "this one", 10):
        assert time.monotonic() - start >= 0.6
    killer.wait()


def test_hold_raises_busy_within_one_process(path):
    with hold(path, "first", 0), pytest.raises(Busy, match="first"), hold(path, "second", 0):
        pass


def test_lock_is_free_after_an_exception(path):
    with pytest.raises(RuntimeError), hold(path, "first", 0):
        raise RuntimeError
    with hold(path, "second", 0):
        pass


def test_is_held_by_compares_the_holder(path):
    assert not is_held_by(path, "this one")  # no file yet
    with hold(path, "this one", 0):
        assert is_held_by(path, "this one")
        assert not is_held_by(path, "this")
    assert not is_held_by(path, "this one")


def test_shorter_description_replaces_a_longer_one(path):
    with hold(path, "a long name", 0):
        pass
    with hold(path, "short", 0):
        assert path.read_text() == "short"


def test_description_of_a_process_starts_with_its_work():
    assert describe_process("training").startswith("training, process ")


def test_several_processes_share_a_lock_and_exclude_an_exclusive_one(path):
    with hold(path, "first", 0, shared=True), hold(path, "second", 0, shared=True), pytest.raises(Busy):  # noqa: SIM117
        with hold(path, "alone", 0):
            pass
    with hold(path, "alone", 0), pytest.raises(Busy, match="alone"), hold(path, "first", 0, shared=True):
        pass


def test_a_file_system_without_locks_is_used_with_one_warning(path, monkeypatch, capsys):
    def flock(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", flock)
    lock._warn_of_missing_locks.cache_clear()
    for _ in range(2):
        with hold(path, "this one", 0):
            assert is_held_by(path, "this one") and not is_held_by(path, "the other")
    assert capsys.readouterr().err.count("has no locks") == 1
