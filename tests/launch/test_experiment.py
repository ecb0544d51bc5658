"""The jobs of an experiment: what is checked before the launch, and the table of results."""

import pytest

from configs.errors import UserError
from launch.experiment import ExperimentJobs
from records.atomic import write_text
from records.layout import seed_folder
from train.run_folder import open_run_folder


def test_another_configuration_is_rejected(tiny):
    experiment = tiny()
    open_run_folder(seed_folder(experiment, 10), experiment)
    write_text(seed_folder(experiment, 10).log, "{}\n")
    ExperimentJobs(experiment).check(follow=True)
    with pytest.raises(UserError, match=r"seed_10 was created with a different configuration \(train.lr: "):
        ExperimentJobs(tiny("train.lr=1")).check(follow=False)


def test_an_unknown_inverter_is_rejected_before_the_training(tiny):
    with pytest.raises(UserError, match='there is no inverter "naiv"'):
        ExperimentJobs(tiny("analyze.measures.inverters=[naiv]")).check(follow=False)


def test_the_results_are_counted_per_seed(analyzed):
    experiment = analyzed("seeds=[0,10]")
    lines = list(ExperimentJobs(experiment).results([]))
    assert [" ".join(line.split()) for line in lines[:3]] == [
        "checkpoints trained analyzed failed",
        "seed 0 4/4 4/4 0",
        "seed 10 4/4 4/4 0",
    ]
