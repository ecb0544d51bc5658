"""What the benchmark is told wrongly ends at once."""

import sys

import pytest

from benchmarks import bench


def test_a_folder_that_is_no_improved_diffusion(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--improved-diffusion", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert ended.value.code == 2 and not (tmp_path / "out").exists()
    assert f"{tmp_path} is no checkout of improved-diffusion" in capsys.readouterr().err


def test_the_table_shows_what_was_found_and_a_dash_for_what_was_not():
    rows = {"one": {"images/s": 1.5, "error": None}, "other": {"images/s": 3.0, "error": 0.25}}
    (_, _, first, second) = bench._table(rows)
    assert (first, second) == ("| one | 1.5 | – |", "| other | 3 | 0.25 |")
