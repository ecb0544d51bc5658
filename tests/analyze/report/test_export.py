"""Exported tables of curves: content, formats and errors."""

import csv
import dataclasses
import sys

import pytest

from analyze.analysis import SeedAnalysis
from analyze.commands import export as command
from analyze.curves import curves
from analyze.report.export import CurveRow, export
from configs.errors import UserError
from records.layout import report_folder


def test_export_contains_every_number_of_every_seed(study):
    file, count = export(study)
    assert file == report_folder(study) / "curves.csv"
    with file.open(newline="", encoding="utf-8") as text:
        rows = [CurveRow(**line) for line in csv.DictReader(text)]
    settings = {(row.experiment, row.weights, row.ddim_steps, row.inversion_steps) for row in rows}
    assert len(rows) == count and settings == {("digits", "ema_0.99", "4", "4")}
    expected = curves([SeedAnalysis(study, seed) for seed in study.seeds])
    assert count == sum(len(values) for curve in expected.values() for values in curve.values.values())
    for i, seed in enumerate(study.seeds):
        exported = {
            (f"{row.measure}/{row.name}", int(row.step)): float(row.value) for row in rows if int(row.seed) == seed
        }
        for name, curve in expected.items():
            for step, values in curve.values.items():
                assert exported[name, step] == values[i]


def test_parquet_equals_csv(study, tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    written, count = export(study, tmp_path / "new" / "curves.parquet")
    table = parquet.read_table(written).to_pylist()
    with export(study)[0].open(newline="", encoding="utf-8") as text:
        lines = list(csv.DictReader(text))
    assert [{name: str(value) for name, value in row.items()} for row in table] == lines and len(table) == count
    assert {type(table[0][name]) for name in ("seed", "step", "ddim_steps")} == {int}


def test_export_is_reproducible(study, tmp_path):
    files = [export(study, tmp_path / f"{name}.csv")[0] for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_parquet_without_pyarrow_names_the_extra(study, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"pip install -e '\.\[parquet\]' in the clone, or write \.csv"):
        export(study, tmp_path / "curves.parquet")
    assert list(tmp_path.iterdir()) == []


def test_invalid_requests_are_refused(study, tiny, tmp_path):
    with pytest.raises(
        UserError, match=r"curves.xlsx: unknown format '.xlsx'; choose a file name with \.csv or \.parquet"
    ):
        export(study, tmp_path / "curves.xlsx")
    with pytest.raises(UserError, match=r"runs/digits: nothing has been analyzed yet; run python -m analyze first"):
        export(tiny())
    other = dataclasses.replace(study, analyze=dataclasses.replace(study.analyze, samples=7))
    with pytest.raises(UserError, match=r"there are no results for .*-N7-.*, only for .*-N8-"):
        export(other)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/curves.csv: cannot be written: "):
        export(study, tmp_path / "file" / "curves.csv")


def test_command_prints_the_file(study, command_line, tmp_path, capsys):
    arguments = command_line(tmp_path, f"runs={study.runs}")
    command.main([*arguments, "--out", str(tmp_path / "mine.csv"), "seeds=[0]"])
    lines = (tmp_path / "mine.csv").read_text().splitlines()
    assert capsys.readouterr().out == f"{tmp_path}/mine.csv: {len(lines) - 1} numbers\n"
    assert {line.split(",")[1] for line in lines[1:]} == {"0"}
