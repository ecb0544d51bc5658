"""Tests of the section and page that compare inverters."""

import csv
import io
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis, analyze_experiment
from analyze.curves import Curve
from analyze.measures.inverters import InverterResult
from analyze.measures.recovery import Latents, Recovery
from analyze.report.inverters import collect, findings, mean_result, to_csv, to_markdown, training_keys
from analyze.report.study import write_report
from configs.load import load
from records.layout import report_folder


def result(method: str, rounds: int, evaluations: float, error: float) -> InverterResult:
    recovery = Recovery(error, error, error, 0.0, 60.0, 50.0)
    latents = Latents(error, error, 0.0, 1.0, 0.1, 0.0, 0.3, 0.2)
    return InverterResult(method, rounds, "DDIM", evaluations, 0.01, recovery, latents)


RESULTS = [
    result("naive (diffusers)", 0, 10, 4.0),
    result("fixed point", 2, 20, 1.0),
    result("fixed point", 5, 50, 0.2),
    result("BDIA", 0, 10, math.inf),
]


def test_findings_name_the_best_method_of_each_budget():
    assert findings(RESULTS, 10)[1] == (
        "With at most 20 evaluations per image, fixed point, K = 2 comes closest to x_T: the mean error is 1 (median "
        "1), followed by naive (diffusers) with 4 (median 4)."
    )
    assert findings(RESULTS[:1], 10) == ["Too few results to compare."]
    sentences = findings(RESULTS[:2], 10)  # the budgets of 30, 50 and 100 evaluations change nothing
    assert len(sentences) == 1 and sentences[0].startswith("With at most 20")


def test_seeds_are_averaged():
    mean = mean_result([result("fixed point", 2, 20, 1.0), result("fixed point", 2, 30, 2.0)])
    assert mean.label == "fixed point, K = 2" and mean.evaluations == 25
    assert mean.recovery.error_mean == 1.5 and mean.latents.reconstruction_mean == 1.5 and mean.data is None


def test_markdown_has_one_row_per_result():
    table = to_markdown(RESULTS)
    assert table.count("\n") == 2 + len(RESULTS)
    assert len({line.count("|") for line in table.splitlines()}) == 1


def test_csv_has_every_number():
    with_data = replace(RESULTS[0], data=RESULTS[0].latents)
    rows = list(csv.DictReader(io.StringIO(to_csv([with_data, RESULTS[1]]))))
    assert [row["method"] for row in rows] == ["naive (diffusers)", "fixed point"]
    assert [float(row["error_median"]) for row in rows] == [4.0, 1.0]
    assert [row["data_reconstruction_mean"] for row in rows] == ["4.0", ""]


def test_training_plot_shows_naive_inversion_and_the_best_methods():
    measured = {f"inverters/{item.key}": Curve(item.key, {0: [1.0]}) for item in RESULTS}
    keys = training_keys(measured, 10, RESULTS)
    assert keys == ["inverters/naive-diffusers", "inverters/BDIA".lower(), "inverters/fixed-point-K2", *keys[3:]]
    assert "inverters/fixed-point-K5" in keys


@pytest.fixture(scope="module")
def compared(tmp_path_factory, analyzed_runs, command_line):
    """Return a tiny experiment whose inverters are compared at every checkpoint, with the report's folder."""
    options = ["inversion_checkpoints=all", "inverters=[naive (diffusers),fixed point]", "inverter_nfe=[4,8]"]
    config, *overrides = command_line(
        tmp_path_factory.mktemp("inverters"), *(f"analyze.measures.{option}" for option in options)
    )
    experiment = load(config, overrides)
    shutil.copytree(analyzed_runs, experiment.runs)
    collect(experiment, analyze_experiment(experiment, only="inverters"))
    return experiment, report_folder(experiment)


def test_experiment_has_a_page_with_table_pictures_and_training_curves(compared):
    _, folder = compared
    page = (folder / "inverters.html").read_text(encoding="utf-8")
    for text in ("fixed point, K = 2", "Inverters through training", "All results", "own + state"):
        assert text in page
    assert page.count("data:image/png") == 2  # one picture per method
    assert (folder / "inverters.md").read_text().count("\n") == 2 + 3
    assert (folder / "inverters.csv").read_text().count("\n") == 1 + 3


def test_study_report_contains_the_comparison(compared):
    experiment, _ = compared
    page = write_report(experiment).read_text(encoding="utf-8")
    assert 'id="inverters"' in page and "comes closest to x_T" in page


def test_other_measures_are_kept(compared):
    experiment, _ = compared
    analysis = SeedAnalysis(experiment, experiment.seeds[0])
    assert {"cka", "inverters"} <= analysis.results(analysis.last_step).keys()


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(file.read_bytes()[:-1])])
def test_latents_that_were_deleted_or_are_damaged_are_not_pictured(damage, compared, tmp_path):
    experiment = copy_of(compared[0], tmp_path)
    analysis = SeedAnalysis(experiment, experiment.seeds[0])
    for file in analysis.generations(analysis.last_step).folder.glob("**/inverters/fixed-point-*.safetensors"):
        damage(file)
    collect(experiment, [analysis])
    page = (report_folder(experiment) / "inverters.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 1 and "fixed point, K = 2" in page


def copy_of(experiment, folder):
    shutil.copytree(experiment.runs, folder / "runs")
    return replace(experiment, runs=str(folder / "runs"))
