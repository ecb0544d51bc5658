"""Shared fixtures: analyses before and after everything is analyzed."""

import shutil

import pytest

from analyze.analysis import SeedAnalysis
from configs.load import load
from configs.schema import Experiment
from records.atomic import write_text
from records.layout import seed_folder


@pytest.fixture(scope="module")
def study(tmp_path_factory, analyzed_runs, command_line) -> Experiment:
    """Return a tiny analyzed study with a training log, shared by the tests of a module, which must not modify it."""
    config, *options = command_line(tmp_path_factory.mktemp("study"))
    experiment = load(config, options)
    shutil.copytree(analyzed_runs, experiment.runs)
    write_log(experiment)
    return experiment


@pytest.fixture
def trained(with_checkpoints) -> SeedAnalysis:
    """Return the analysis of a seed with checkpoints, before anything is analyzed."""
    return SeedAnalysis(with_checkpoints("seeds=[0]"), 0)


@pytest.fixture
def complete(analyzed) -> SeedAnalysis:
    """Return the complete analysis of a seed."""
    return SeedAnalysis(analyzed("seeds=[0]"), 0)


def write_log(experiment: Experiment) -> None:
    """Write a short training log for each seed."""
    for seed in experiment.seeds:
        write_text(seed_folder(experiment, seed).log, '{"step": 2, "loss": 1.5}\n{"step": 4, "loss": 1.0}\n')
