"""The benchmark of measures, as printed by its command, and its cost relative to generating."""

import subprocess
import sys

import pytest

from analyze.measures import MEASURES
from benchmarks import bench, measures
from configs.schema import Measures


def test_the_command_prints_one_row_with_all_sizes(repository):
    command = [sys.executable, "-m", "benchmarks.measures", "plain_areas"]
    output = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=240, check=True).stdout
    head, _, row = output.splitlines()[-3:]
    assert [head.count(unit) for unit in (measures.FIRST, measures.FURTHER, measures.PEAK)] == [2, 2, 2]
    name, *cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert name == "plain_areas" and len(cells) == 6
    assert all(float(peak) > 0.1 for peak in cells[2::3])


def test_the_sum_has_each_default_measure_that_does_not_run_the_network_once():
    first, further = (
        [row.split(" ")[0] for row in measures.rows_of_analysis(kind)] for kind in (measures.FIRST, measures.FURTHER)
    )
    expected = [measure.name for measure in MEASURES if measure.is_on(Measures()) and not measure.needs_network]
    assert sorted(first) == sorted(expected)
    assert set(first) - set(further) == {"reconstruction", "interpolation_map"}


def test_the_sum_has_dino_of_all_images(monkeypatch):
    monkeypatch.setattr(measures, "DINO_IMAGES", measures.IMAGES // 32)
    rows = {row: {measures.FIRST: 0.0, measures.FURTHER: 0.0} for row in measures.MEASURED}
    rows[next(row for row in rows if row.startswith("dino"))] = {measures.FIRST: 9.0, measures.FURTHER: 1.0}
    assert measures.seconds_of_analysis(rows, measures.FURTHER) == 32
    assert (
        measures.seconds_of_analysis(rows, measures.FIRST) == 9 + 2 * 31
    )  # loads the network, and has two sets of images


def test_generating_counts_as_one_sampling_and_two_inversions():
    rows = {"theirs": {"images/s": 100.0}, "ours fp32": {"images/s": 1.0}, "ours bf16": {"images/s": 4.0}}
    speeds = {
        f"{direction}, cifar10, batch 32, T = 100": rows | {bench.MATMUL: {}} for direction in ("sampling", "inversion")
    }
    results = {f"{bench.ALL_MEASURES}, {measures.FURTHER}": 0.75 * measures.IMAGES}
    sampling, _ = speeds
    assert bench.relative_cost_of_measures(results | {sampling: speeds[sampling]}) == {}
    assert list(bench.relative_cost_of_measures(results | speeds).values()) == [pytest.approx(1.0)]
