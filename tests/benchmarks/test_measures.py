"""The benchmark of measures, as its command prints it, and what share of generating measuring takes."""

import subprocess
import sys

import pytest

from benchmarks import bench, measures


def test_its_command_prints_a_row_for_each_size_it_measures(repository):
    command = [sys.executable, "-m", "benchmarks.measures", "plain_pixels"]
    said = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=240, check=True).stdout
    head, _, row = said.splitlines()[-3:]
    assert [head.count(unit) for unit in (measures.FIRST, measures.FURTHER, measures.PEAK)] == [2, 2, 2]
    name, *cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert name == "plain_pixels" and len(cells) == 6
    assert all(float(peak) > 0.1 for peak in cells[2::3])


def test_the_share_of_generating_counts_one_generation_and_two_inversions():
    rate = {"theirs": {"images/s": 100.0}, "ours fp32": {"images/s": 1.0}, "ours bf16": {"images/s": 4.0}}
    ways = {f"{way}, cifar10, batch 32, T = 100": rate | {"matrix product": {}} for way in ("sampling", "inversion")}
    found = {"all measures, further [s]": 0.75 * measures.IMAGES}
    assert bench.share_of_measures(found) == {}
    assert list(bench.share_of_measures(found | ways).values()) == [pytest.approx(1.0)]
