"""Following a study in the queue of a cluster that runs no jobs (tests/slurm follows a study on a real one)."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from configs.errors import UserError
from launch.slurm import follow, submissions
from launch.slurm.submit import SlurmRun
from launch.study import run_study
from records.layout import seed_folder


@pytest.fixture
def polls(monkeypatch):
    """The number of queries of the queue so far; there are no pauses between them."""
    times = []
    monkeypatch.setattr(follow.time, "sleep", times.append)
    return times


@pytest.fixture
def study(tiny, slurm):
    """A study in the queue."""
    experiment = tiny("cluster.kind=slurm", "seeds=[0]")
    run_study(experiment)
    return experiment


def test_following_continues_after_failed_queries(study, slurm, polls, monkeypatch, capsys):
    slurm.fail("squeue", 3)
    monkeypatch.setattr(follow.time, "sleep", lambda _: polls.append(1) or len(polls) < 5 or slurm.queue.write_text(""))
    follow.follow_study(study)
    output = capsys.readouterr()
    assert output.err.count("squeue failed: no answer; trying again") == 3 and "seed 0" in output.out


def test_following_ends_after_several_failed_queries_in_a_row(study, slurm, polls):
    slurm.fail("squeue", 1000)
    with pytest.raises(UserError, match="squeue failed: no answer"):
        follow.follow_study(study)
    assert 5 < len(polls) < 100


def test_two_that_follow_at_once_submit_each_checkpoint_once(with_checkpoints, slurm):
    experiment = with_checkpoints("cluster.kind=slurm", "seeds=[0]")
    seed_folder(experiment, 0).trained(experiment.train.steps).unlink()  # training continues
    run_study(experiment)
    with ThreadPoolExecutor(2) as pool:
        polls = [pool.submit(follow.submit_early_jobs, experiment, SlurmRun(experiment, {})) for _ in range(2)]
    assert [poll.result() for poll in polls] == [True, True]
    tasks = [task for submission in submissions.read(experiment) for task in submission.tasks]
    steps = sorted(step for task in tasks if task.name.startswith("early") for step in task.steps)
    assert steps == [0, 2, 5, 8]


def test_a_checkpoint_whose_early_analysis_was_killed_is_not_analyzed_early_again(with_checkpoints, slurm):
    """A killed job records no failure, and may be killed each time."""
    experiment = with_checkpoints("cluster.kind=slurm", "seeds=[0]")
    seed_folder(experiment, 0).trained(experiment.train.steps).unlink()  # training continues
    run_study(experiment)
    before = slurm.jobs()
    assert follow.submit_early_jobs(experiment, SlurmRun(experiment, {}))
    assert slurm.jobs() != before
    slurm.queue.write_text("".join(f"{job}|{name}|PENDING|None\n" for job, name in before))
    assert follow.submit_early_jobs(experiment, SlurmRun(experiment, {})) and slurm.jobs() == before
    changed = replace(experiment, analyze=replace(experiment.analyze, samples=4))
    assert follow.submit_early_jobs(changed, SlurmRun(changed, {})) and slurm.jobs() != before
