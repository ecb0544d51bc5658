"""Reproducibility on the comparison page: the pairs of runs, their numbers, and experiments with different noise."""

import shutil

import numpy as np
import pytest
import torch

from analyze.analysis import SeedAnalysis
from analyze.measures.reproducibility import Reproducibility
from analyze.report.compared import Compared
from analyze.report.page.blocks import Text
from analyze.report.reproducibility import (
    Agreement,
    by_pixels,
    different_noise,
    groups,
    reproducibility_finding,
    reproducibility_section,
)
from configs.schema import Experiment


@pytest.fixture
def other(analyzed, tiny):
    """Return a function that copies the analyzed study under the name "other", with options, and compares both."""

    def compare(*options: str) -> list[Compared]:
        study = analyzed()
        other: Experiment = tiny("name=other", *options)
        shutil.copytree(f"{study.runs}/digits", f"{study.runs}/other")
        return [Compared("A", study), Compared("B", other)]

    return compare


DIFFERENT_NOISE = "A – B: not comparable, because the images start from different noise, analyze.noise_seed=0 and 7."


@pytest.fixture
def analyze():
    """Return a function that analyzes the missing checkpoints of an experiment."""

    def run(experiment: Experiment) -> None:
        for seed in experiment.seeds:
            analysis = SeedAnalysis(experiment, seed)
            analysis.analyze(analysis.missing())

    return run


def section(compared: list[Compared]) -> list:
    """Return the lead and the blocks of the section."""
    same_noise = groups(compared)
    section = reproducibility_section(compared, same_noise, by_pixels(same_noise))
    return [section.lead, *section.blocks]


def seeds(group) -> list[tuple[int, int]]:
    return [(first.analysis.seed, second.analysis.seed) for first, second in group.pairs]


def test_runs_of_the_same_seed_are_compared(other):
    between, *within = groups(other())
    assert between.label == "A – B" and seeds(between) == [(0, 0), (10, 10)]
    assert [(group.label, seeds(group)) for group in within] == [("seeds of A", [(0, 10)]), ("seeds of B", [(0, 10)])]


def test_without_a_common_seed_all_runs_are_compared(other):
    study, copy = other("seeds=[0]")
    study.experiment.seeds = [10]
    (group,) = groups([study, copy])
    assert seeds(group) == [(10, 0)]


def test_seeds_without_results_are_left_out(other):
    compared = other("seeds=[0,10,42]")
    assert [seeds(group) for group in groups(compared)] == [[(0, 0), (10, 10)], [(0, 10)], [(0, 10)]]


def test_numbers_are_those_of_the_last_images(other):
    """A copy of a study is fully reproducible; its seeds are not. The std is over the pairs of runs."""
    compared = other()
    between, within, _ = by_pixels(groups(compared))
    assert between.row[:4] == ["A – B", "2", "8", "100.0 ± 0.0"] and between.row[5] == "1.000 ± 0.000"
    images = [analysis.generations(8)["samples"].flatten(1) for analysis in compared[0].analyses]
    correlations = np.corrcoef(*images)[:8, 8:]
    (result,) = within.results
    assert result.cosine == pytest.approx(correlations.diagonal().mean(), abs=1e-6)
    assert result.unrelated_cosine == pytest.approx(correlations[~np.eye(8, dtype=bool)].mean(), abs=1e-6)


def test_experiments_share_the_noise_of_their_first_images(other, analyze):
    """Sample i has the same noise in an analysis of more images."""
    compared = other("analyze.samples=12")
    analyze(compared[1].experiment)
    between, _, within = by_pixels(groups(compared))
    assert (between.images, within.images) == (8, 12)
    assert [result.score for result in between.results] == [1, 1]


def test_experiments_with_different_noise_are_named(other):
    compared = other("analyze.noise_seed=7")
    assert [group.label for group in groups(compared)] == ["seeds of A"]
    assert different_noise(compared) == [DIFFERENT_NOISE]


def test_experiments_with_different_shapes_are_named(other):
    (sentence,) = different_noise(other("model.image_size=16"))
    assert sentence == "A – B: not comparable, because the images have different shapes, [1, 8, 8] and [1, 16, 16]."


def test_values_are_formatted_over_pairs():
    results = [Reproducibility(0.5, 0.25, 0.0, 0.125), Reproducibility(1.0, 0.75, 0.0, 0.125)]
    several, single = Agreement("A – B", 2048, results), Agreement("seeds of A", 2048, results[:1])
    assert several.row == [
        "A – B",
        "2",
        "2,048",
        "75.00 ± 35.36",
        "0.000 ± 0.000",
        "0.5000 ± 0.3536",
        "0.1250 ± 0.0000",
    ]
    assert single.row[3:] == ["50.00", "0.000", "0.2500", "0.1250"]


def test_section_replaces_numbers_by_a_sentence(other):
    compared = other("analyze.noise_seed=7", "seeds=[0]")
    compared[0].experiment.seeds = [0]
    lead, *blocks = section(compared)
    assert lead.startswith("Similarity of the images") and blocks == [Text(DIFFERENT_NOISE)]


def test_section_has_a_table_and_the_reason_without_dino(other):
    compared = other()
    _, pixels, reason = section(compared)
    assert [row[0] for row in pixels.rows] == ["A – B", "seeds of A", "seeds of B"]
    assert all(len(row) == len(pixels.header) for row in pixels.rows)
    assert "/absent are not available" in reason.text
    compared[0].experiment.analyze.measures.dino_model = None
    assert section(compared)[1:] == [pixels]


def test_dino_features_are_compared(other, monkeypatch):
    """Each run's features are computed once, although every run is in two pairs."""
    computed = []

    def brightness(images: torch.Tensor, model: str) -> torch.Tensor:
        computed.append(model)
        return torch.stack([images.flatten(1).mean(dim=1), torch.ones(len(images))], dim=1)

    monkeypatch.setattr("analyze.report.reproducibility.dino_features", brightness)
    _, _, features = section(other())
    assert computed == ["/absent"] * 4 and features.caption == "Similarity of DINO features"
    assert features.rows[0][3] == "100.0 ± 0.0"


def test_finding_names_all_groups():
    results = [Reproducibility(0.5, 0.25, 0.125, 0.125)]
    sentence = reproducibility_finding([Agreement("A – B", 8, results), Agreement("seeds of A", 8, results)])
    assert sentence == (
        "Images from the same noise that are alike (pixel correlation above 0.6): 50.00 % for A – B "
        "(unrelated: 12.50 %); 50.00 % for seeds of A (unrelated: 12.50 %)."
    )
