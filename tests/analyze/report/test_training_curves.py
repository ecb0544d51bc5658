"""Curves of training logs, which are thinned alike for all seeds."""

import json

import pytest

from analyze.analysis import SeedAnalysis
from analyze.report.training_curves import thin, training_curves
from records.atomic import write_text


def test_only_long_logs_are_thinned():
    short = {1: 3.0, 2: 5.0}
    assert thin(short, short) == short
    long = {step: float(step) for step in range(10, 10_001, 10)}
    few = thin(long, long, count=50)
    assert 20 < len(few) <= 50 and list(few) == sorted(few) and list(few)[-1] == 10_000
    previous = 0
    for step, mean in few.items():
        assert mean == pytest.approx((previous + 10 + step) / 2)
        previous = step


def test_seeds_with_logs_of_different_lengths_are_thinned_alike(analyzed):
    experiment = analyzed("seeds=[0,10]")
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    for analysis, steps in zip(analyses, (2000, 700), strict=True):
        points = (json.dumps({"step": step, "loss": float(analysis.seed)}) for step in range(1, steps + 1))
        write_text(analysis.run.log, "".join(f"{point}\n" for point in points))
    curve = training_curves(analyses)["loss"]
    assert curve.steps == sorted(curve.steps) and curve.steps[-1] == 2000
    common = [values for step, values in curve.values.items() if step < 690]
    assert len(common) > 100 and all(values == [0.0, 10.0] for values in common)
