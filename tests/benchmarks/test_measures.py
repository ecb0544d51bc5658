"""The benchmark of measures, as printed by its command, and its cost relative to generating."""

import subprocess
import sys

import pytest

from benchmarks import bench, measures


def test_the_command_prints_one_row_with_all_sizes(repository):
    command = [sys.executable, "-m", "benchmarks.measures", "plain_areas"]
    output = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=240, check=True).stdout
    head, _, row = output.splitlines()[-3:]
    assert [head.count(unit) for unit in (measures.FIRST, measures.FURTHER, measures.PEAK)] == [2, 2, 2]
    name, *cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert name == "plain_areas" and len(cells) == 6
    assert all(float(peak) > 0.1 for peak in cells[2::3])


def test_generating_counts_as_one_sampling_and_two_inversions():
    rows = {"theirs": {"images/s": 100.0}, "ours fp32": {"images/s": 1.0}, "ours bf16": {"images/s": 4.0}}
    speeds = {
        f"{direction}, cifar10, batch 32, T = 100": rows | {bench.MATMUL: {}} for direction in ("sampling", "inversion")
    }
    results = {"all measures, further [s]": 0.75 * measures.IMAGES}
    sampling, _ = speeds
    assert bench.relative_cost_of_measures(results | {sampling: speeds[sampling]}) == {}
    assert list(bench.relative_cost_of_measures(results | speeds).values()) == [pytest.approx(1.0)]
