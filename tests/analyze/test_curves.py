"""Curves over steps: mean and standard deviation over the seeds that have got there."""

import json

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves, seed_points
from records.atomic import write_json

RESULTS = {
    0: {0: 1.0, 2: 2.0, 8: 5.0},
    10: {0: 4.0, 2: 8.0},
    42: {0: 10.0},
}


@pytest.fixture
def analyses(with_checkpoints):
    """Three seeds that have got to different steps, with one made-up number each."""
    experiment = with_checkpoints("seeds=[0,10,42]")
    made = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    for one in made:
        for step, value in RESULTS[one.seed].items():
            write_json(
                one.results_file(step),
                {"measures": {"some": {"values": {"value": value, "twice": 2 * value, "map": [1.0], "whether": True}}}},
            )
    return made


def test_points_of_a_seed_are_flat_and_ascending(analyses):
    assert seed_points(analyses[1]) == [
        {"step": 0, "some/value": 4.0, "some/twice": 8.0},
        {"step": 2, "some/value": 8.0, "some/twice": 16.0},
    ]


def test_whole_numbers_are_numbers(analyses):
    write_json(analyses[0].results_file(0), {"measures": {"some": {"values": {"count": 3}}}})
    assert seed_points(analyses[0])[0] == {"step": 0, "some/count": 3}


def test_mean_and_deviation_are_over_the_seeds_that_are_there(analyses):
    found = curves(analyses)
    assert found.keys() == {"some/value", "some/twice"}
    value = found["some/value"]
    assert (value.steps, value.mean) == ([0, 2, 8], [5.0, 5.0, 5.0])
    assert value.std == pytest.approx([21**0.5, 18**0.5, 0.0])
    assert found["some/twice"].std == pytest.approx([2 * 21**0.5, 2 * 18**0.5, 0.0])


def test_steps_ascend_whichever_seed_comes_first(analyses):
    assert curves(analyses[::-1])["some/value"].steps == [0, 2, 8]
    assert curves(analyses[::-1])["some/value"].values[0] == [10.0, 4.0, 1.0]


def test_nothing_measured_has_no_curves(with_checkpoints):
    assert curves([SeedAnalysis(with_checkpoints("seeds=[0]"), 0)]) == {}


def test_one_seed_has_no_deviation():
    assert Curve("x", {0: [1.5], 10: [2.5]}).std == [0.0, 0.0]


def test_curves_are_what_analysis_left(with_checkpoints):
    """Every number of every results file, under the name of its measure."""
    experiment = with_checkpoints()
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    for one in analyses:
        one.analyze(one.missing())
    found = curves(analyses)
    stored = [json.loads(one.results_file(5).read_text())["measures"]["triangle"]["values"] for one in analyses]
    for name in stored[0]:
        assert found[f"triangle/{name}"].values[5] == [one[name] for one in stored]
    assert all(curve.steps == [0, 2, 5, 8] for name, curve in found.items() if not name.startswith("reconstruction"))
