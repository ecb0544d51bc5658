"""Curves: mean and standard deviation over the seeds with results at a step."""

import json

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves, seed_points
from analyze.measures import Measure
from records.atomic import write_json

RESULTS = {
    0: {0: 1.0, 2: 2.0, 8: 5.0},
    10: {0: 4.0, 2: 8.0},
    42: {0: 10.0},
}


def some() -> None:
    """Do nothing; the values below are stored as those of this measure."""


@pytest.fixture
def analyses(with_checkpoints, monkeypatch):
    """Three seeds with results up to different steps."""
    monkeypatch.setattr("analyze.analysis.MEASURES", [Measure(some)])
    experiment = with_checkpoints("seeds=[0,10,42]")
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    for analysis in analyses:
        for step, value in RESULTS[analysis.seed].items():
            values = {"value": value, "twice": 2 * value, "map": [1.0], "whether": True}
            write_json(analysis.results_file(step), {"measures": {"some": {"options": {}, "values": values}}})
    return analyses


def test_seed_points_are_flat_and_ascending(analyses):
    assert seed_points(analyses[1]) == [
        {"step": 0, "some/value": 4.0, "some/twice": 8.0},
        {"step": 2, "some/value": 8.0, "some/twice": 16.0},
    ]


def test_integers_are_numbers(analyses):
    write_json(analyses[0].results_file(0), {"measures": {"some": {"options": {}, "values": {"count": 3}}}})
    assert seed_points(analyses[0])[0] == {"step": 0, "some/count": 3}


def test_mean_and_deviation_are_over_the_available_seeds(analyses):
    results = curves(analyses)
    assert results.keys() == {"some/value", "some/twice"}
    value = results["some/value"]
    assert (value.steps, value.mean) == ([0, 2, 8], [5.0, 5.0, 5.0])
    assert value.std == pytest.approx([21**0.5, 18**0.5, 0.0])
    assert results["some/twice"].std == pytest.approx([2 * 21**0.5, 2 * 18**0.5, 0.0])


def test_steps_ascend_for_any_order_of_seeds(analyses):
    assert curves(analyses[::-1])["some/value"].steps == [0, 2, 8]
    assert curves(analyses[::-1])["some/value"].values[0] == [10.0, 4.0, 1.0]


def test_comparisons_with_the_last_checkpoint_of_the_furthest_seed_are_not_averaged_with_others(analyses):
    for analysis, last in zip(analyses, (8, 2, 0), strict=True):
        for step in RESULTS[analysis.seed]:
            result = {"options": {}, "values": {"value": 1.0}, "last_step": last}
            write_json(analysis.results_file(step), {"measures": {"some": result}})
    assert curves(analyses)["some/value"].values == {step: [1.0] for step in RESULTS[0]}
    assert curves(analyses[1:])["some/value"].values == {step: [1.0] for step in RESULTS[10]}


def test_no_results_give_no_curves(with_checkpoints):
    assert curves([SeedAnalysis(with_checkpoints("seeds=[0]"), 0)]) == {}


def test_single_seed_has_no_deviation():
    assert Curve("x", {0: [1.5], 10: [2.5]}).std == [0.0, 0.0]


def test_curves_contain_every_stored_number(with_checkpoints):
    experiment = with_checkpoints()
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    for analysis in analyses:
        analysis.analyze(analysis.missing())
    results = curves(analyses)
    files = [analysis.results_file(5) for analysis in analyses]
    stored = [json.loads(file.read_text())["measures"]["triangle"]["values"] for file in files]
    for name in stored[0]:
        assert results[f"triangle/{name}"].values[5] == [values[name] for values in stored]
    assert all(curve.steps == [0, 2, 5, 8] for name, curve in results.items() if not name.startswith("reconstruction"))
