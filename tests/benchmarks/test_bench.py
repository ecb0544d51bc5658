"""Arguments and tables of the benchmark command."""

import sys

import pytest

from benchmarks import bench


def test_a_folder_without_improved_diffusion_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "--improved-diffusion", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as exit_info:
        bench.main()
    assert exit_info.value.code == 2 and not (tmp_path / "out").exists()
    assert f"{tmp_path} is not a checkout of improved-diffusion" in capsys.readouterr().err


def test_the_table_shows_a_dash_for_a_missing_value():
    rows = {"one": {"images/s": 1.5, "error": None}, "other": {"images/s": 3.0, "error": 0.25}}
    (_, _, first, second) = bench._table(rows)
    assert (first, second) == ("| one | 1.5 | – |", "| other | 3 | 0.25 |")
