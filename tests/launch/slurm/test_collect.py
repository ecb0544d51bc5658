"""The job that writes the report, on a cluster that runs no jobs."""

import pytest

from launch.study import run_study


@pytest.fixture
def study(tiny, slurm):
    """A study in the queue, without its last job."""
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    run_study(experiment)
    slurm.remove("digits-collect")
    return experiment


def test_a_lost_last_job_is_submitted_again(study, slurm, capsys):
    """Its submission may have failed after those of the others, or it may have been canceled."""
    before = slurm.jobs()
    run_study(study)
    added = [name for job, name in slurm.jobs() if (job, name) not in before]
    assert len(before) == 3 and added == ["digits-collect"] and "collect" in capsys.readouterr().out.splitlines()[-2]


def test_a_rerun_submits_nothing_that_is_in_the_queue(study, slurm, capsys):
    run_study(study)
    before = slurm.jobs()
    run_study(study)
    assert slurm.jobs() == before
    assert "nothing to submit: 4 jobs of this study are in the queue" in capsys.readouterr().out
