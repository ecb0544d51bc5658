"""Files and folders are whole or not there, whatever happens on the way."""

import os
import subprocess
import sys

import pytest

from records.atomic import PARTIAL, atomic_folder, clear_partial, write_json, write_text


def names(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_new_folder_appears_with_everything_in_it(tmp_path):
    with atomic_folder(tmp_path / "deep" / "made") as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "a").write_text("1")
        assert not (tmp_path / "deep" / "made").exists()
    assert (tmp_path / "deep" / "made" / "inner" / "a").read_text() == "1"
    assert names(tmp_path / "deep") == ["made"]


def test_new_folder_leaves_nothing_after_an_exception(tmp_path):
    with pytest.raises(RuntimeError, match="midway"), atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("1")
        raise RuntimeError("midway")
    assert names(tmp_path) == []


def test_new_folder_leaves_what_has_its_name_already(tmp_path):
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a").write_text("first")
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("second")
    assert (tmp_path / "made" / "a").read_text() == "first"
    assert names(tmp_path) == ["made"]


def test_a_killed_process_leaves_a_partial_folder_that_is_cleared(tmp_path, repository):
    dies = f"""
import os, pathlib
from records.atomic import atomic_folder
with atomic_folder(pathlib.Path({str(tmp_path)!r}) / "made") as folder:
    (folder / "a").write_text("1")
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", dies], cwd=repository, check=False)
    (left,) = names(tmp_path)
    assert left.startswith(PARTIAL)
    clear_partial(tmp_path)
    assert names(tmp_path) == []


def test_clear_partial_removes_nothing_else(tmp_path):
    (tmp_path / "000000005").mkdir()
    (tmp_path / "log").touch()
    (tmp_path / f"{PARTIAL}log-1").touch()
    clear_partial(tmp_path)
    assert names(tmp_path) == ["000000005", "log"]
    clear_partial(tmp_path / "not_there")


def test_write_text_replaces_the_whole_file(tmp_path):
    write_text(tmp_path / "deep" / "file", "a longer text")
    write_text(tmp_path / "deep" / "file", "ε")
    assert (tmp_path / "deep" / "file").read_text(encoding="utf-8") == "ε"
    assert names(tmp_path / "deep") == ["file"]


@pytest.mark.parametrize("fails", ["fsync", "replace"])
def test_write_text_leaves_the_old_text_where_it_fails(fails, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_write_json_ends_its_line_and_keeps_letters(tmp_path):
    write_json(tmp_path / "file", {"ε": [1, None]})
    text = (tmp_path / "file").read_text(encoding="utf-8")
    assert '"ε"' in text and text.endswith("}\n")
