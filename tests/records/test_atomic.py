"""Atomic files and folders under exceptions and kills."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from records.atomic import PARTIAL, atomic_folder, clear_partial, read_json, write_json, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_atomic_folder_appears_complete(tmp_path):
    with atomic_folder(tmp_path / "deep" / "folder") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")
        assert not (tmp_path / "deep" / "folder").exists()
    assert (tmp_path / "deep" / "folder" / "inner" / "a").read_text() == "1"
    assert names(tmp_path / "deep") == ["folder"]


def test_atomic_folder_leaves_nothing_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError, match="midway"), atomic_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("1")
        raise RuntimeError("midway")
    assert names(tmp_path) == []


def test_atomic_folder_does_not_replace_an_existing_folder(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a").write_text("first")
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "a").write_text("second")
    assert (tmp_path / "folder" / "a").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_partial_folder_of_a_killed_process_is_cleared(tmp_path, repository):
    code = f"""
import os, pathlib
from records.atomic import atomic_folder
with atomic_folder(pathlib.Path({str(tmp_path)!r}) / "folder") as folder:
    (folder / "a").write_text("1")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], cwd=repository, check=False)
    (leftover,) = names(tmp_path)
    assert leftover.startswith(PARTIAL)
    clear_partial(tmp_path)
    assert names(tmp_path) == []


def test_clear_partial_removes_only_partial_files_and_folders(tmp_path):
    (tmp_path / "000000005").mkdir()
    (tmp_path / "log").touch()
    (tmp_path / f"{PARTIAL}log-1").touch()
    clear_partial(tmp_path)
    assert names(tmp_path) == ["000000005", "log"]
    clear_partial(tmp_path / "missing")


def test_clear_partial_of_a_name_removes_only_its_own(tmp_path):
    for name in ("cifar10_32-12345678", "cifar10_320-12345678"):
        (tmp_path / f"{PARTIAL}{name}").mkdir()
    clear_partial(tmp_path, "cifar10_32")
    assert names(tmp_path) == [f"{PARTIAL}cifar10_320-12345678"]


def test_only_abandoned_files_and_folders_are_cleared_on_request(tmp_path):
    """A folder is not abandoned while a file in it grows, which does not change the time of the folder."""
    for name in ("old-1", "new-1", "growing-1/file", "left-1/file"):
        (tmp_path / f"{PARTIAL}{name}").parent.mkdir(exist_ok=True)
        (tmp_path / f"{PARTIAL}{name}").touch()
    two_hours_ago_s = time.time() - 7200
    for name in ("old-1", "growing-1", "left-1/file", "left-1"):
        os.utime(tmp_path / f"{PARTIAL}{name}", (two_hours_ago_s, two_hours_ago_s))
    clear_partial(tmp_path, abandoned_only=True)
    assert names(tmp_path) == [f"{PARTIAL}growing-1", f"{PARTIAL}new-1"]


def test_several_processes_clear_the_same_folder(tmp_path):
    (tmp_path / f"{PARTIAL}folder-12345678" / "inner").mkdir(parents=True)
    for number in range(500):
        (tmp_path / f"{PARTIAL}folder-12345678" / "inner" / str(number)).touch()
        (tmp_path / f"{PARTIAL}file-{number}").touch()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(clear_partial, [tmp_path] * 4))
    assert names(tmp_path) == []


def test_write_text_replaces_the_whole_file(tmp_path):
    write_text(tmp_path / "deep" / "file", "a longer text")
    write_text(tmp_path / "deep" / "file", "ε")
    assert (tmp_path / "deep" / "file").read_text(encoding="utf-8") == "ε"
    assert names(tmp_path / "deep") == ["file"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_failed_write_text_keeps_the_old_text(fails, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_write_json_ends_with_a_newline_and_keeps_unicode(tmp_path):
    write_json(tmp_path / "file", {"ε": [1, None]})
    text = (tmp_path / "file").read_text(encoding="utf-8")
    assert '"ε"' in text and text.endswith("}\n")


def test_json_is_read_back(tmp_path):
    write_json(tmp_path / "a.json", {"ε": [1, None]})
    assert read_json(tmp_path / "a.json") == {"ε": [1, None]}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b"9" * 5_000])
def test_damaged_json_is_a_value_error(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError):
        read_json(tmp_path / "a.json")
