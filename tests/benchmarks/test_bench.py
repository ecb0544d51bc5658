"""Arguments, results and tables of the benchmark command."""

import sys

import pytest
import torch

from benchmarks import bench, timing
from benchmarks.contenders import Sampler


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


def test_rows_of_sampling_are_known_before_inversion_runs(monkeypatch):
    calls: list[str] = []
    sampler = Sampler(lambda: torch.ones(1), lambda: calls.append("sampling"), lambda: calls.append("inversion"))
    monkeypatch.setattr(timing, "MATRIX_SIDE", {"cpu": 64})
    monkeypatch.setattr(bench.contenders, "samplers", lambda *arguments: {"ours fp32": sampler})
    parts = bench.sampling("cifar10", 1, torch.device("cpu"), None)
    (sampled,) = next(parts)
    assert sampled.startswith("sampling, cifar10") and "inversion" not in calls
    ((inverted, rows),) = next(parts).items()
    assert inverted.startswith("inversion, cifar10") and rows["ours fp32"]["error"] == 0


def test_the_fraction_of_a_matrix_product_is_that_in_the_same_precision():
    fractions = [
        bench._fraction(f"ours {name}", 8.0, {"fp32": 10.0, "bf16": 80.0}) for name in ("fp32", "tf32", "bf16")
    ]
    assert fractions == [0.8, None, 0.1]
