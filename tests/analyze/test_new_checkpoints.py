"""Analyses that run while training saves further checkpoints and other processes compare with these."""

import pytest

from analyze.analysis import SeedAnalysis

COMPARISONS = {"knn_coverage", "cka", "svcca", "ssim", "early_inverter"}


@pytest.fixture
def early(trained) -> SeedAnalysis:
    """Return an analysis that started before the last checkpoint was saved."""
    last = trained.run.checkpoint(8)
    hidden = last.rename(last.with_name("hidden"))
    early = SeedAnalysis(trained.experiment, 0)
    assert early.steps == [0, 2, 5]
    hidden.rename(last)
    return early


def references(analysis: SeedAnalysis, step: int) -> set[int]:
    """Return the checkpoints that a step is compared with."""
    results = analysis.results(step)
    return {results[name]["last_step"] for name in COMPARISONS & results.keys()}


def test_comparisons_with_a_newer_checkpoint_are_not_replaced(trained, early):
    trained.analyze([8, 2])
    early.analyze([2, 0])
    assert references(early, 2) == {8} and references(early, 0) == {5}
    assert early.missing() == [5] and trained.missing() == [5, 0]


def test_comparisons_that_another_process_stores_meanwhile_are_kept(trained, early):
    def before_work(name: str) -> None:
        if name == "triangle":
            trained.analyze([8, 2])

    early.analyze([2], before_work=before_work)
    assert references(early, 2) == {8} and trained.missing() == [5, 0]


def test_comparisons_of_a_former_last_checkpoint_are_computed_again(trained, early):
    early.analyze(early.missing())
    assert references(early, 2) == {5} and early.missing() == [] and trained.missing() == [8, 5, 2, 0]
    trained.analyze(trained.missing())
    assert references(early, 2) == {8} and trained.missing() == [] and early.missing() == []
