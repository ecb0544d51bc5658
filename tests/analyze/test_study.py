"""The analysis of a whole experiment in one process."""

import pytest

from analyze.analysis import SeedAnalysis
from analyze.study import analyse
from configs.errors import UserError


def test_what_is_missing_of_all_seeds_is_made(as_if_trained, capsys):
    experiment = as_if_trained("seeds=[0,1]")
    analyse(experiment)
    assert all(SeedAnalysis(experiment, seed).missing() == [] for seed in (0, 1))
    assert "8 of 8 checkpoints" in capsys.readouterr().err
    analyse(experiment)
    assert capsys.readouterr().err == ""


def test_without_checkpoints_it_says_what_to_do(tiny):
    with pytest.raises(UserError, match="holds no checkpoints yet; train first"):
        analyse(tiny())
