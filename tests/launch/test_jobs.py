"""Analysis jobs: failing and new checkpoints, and the measured time per checkpoint; one report at a time."""

import pytest

from analyze.analysis import SeedAnalysis
from analyze.report import wandb_runs
from configs.errors import UserError
from launch import jobs
from launch.jobs import Analyze, CollectExperiment
from launch.plan import checkpoint_minutes
from records import lock
from records.layout import experiment_folder


def test_a_failing_checkpoint_does_not_affect_the_others(with_checkpoints, monkeypatch):
    experiment = with_checkpoints("seeds=[0]")
    generations, analysis = SeedAnalysis.generations, SeedAnalysis(experiment, 0)

    def fail_at_step_2(self, step):
        if step == 2:
            raise RuntimeError("CUDA out of memory\nand more")
        return generations(self, step)

    monkeypatch.setattr(SeedAnalysis, "generations", fail_at_step_2)
    work = Analyze(experiment, 1, 0, (0, 2, 5, 8))
    assert work.progress() == 0 and work() == ""
    assert analysis.missing() == [2] and work.progress() == 3
    assert analysis.failures() == {2: "RuntimeError: CUDA out of memory"}
    monkeypatch.undo()
    assert work() == "" and analysis.missing() == [] and analysis.failures() == {}


def test_checkpoints_that_are_saved_during_a_job_are_published(with_checkpoints, monkeypatch):
    """Without them, the points of a complete study would be replaced by those of its beginning."""
    experiment = with_checkpoints("seeds=[0]")
    last, published = SeedAnalysis(experiment, 0).run.checkpoint(8), []
    hidden = last.rename(last.with_name("hidden"))
    monkeypatch.setattr(SeedAnalysis, "analyze", lambda self, steps: hidden.rename(last))
    monkeypatch.setattr(wandb_runs, "publish_beginning", published.append)
    assert Analyze(experiment, 1, 0, (5,))() == "" and published[0].steps == [0, 2, 5, 8]


def test_the_time_per_checkpoint_is_measured(with_checkpoints):
    experiment = with_checkpoints("seeds=[0]")
    estimate = checkpoint_minutes(experiment)
    Analyze(experiment, 1, 0, (8, 0))()
    assert checkpoint_minutes(experiment) != estimate
    (file,) = experiment_folder(experiment).rglob("minutes-*")
    for damaged in ("", "nan", "\0\0"):
        file.write_text(damaged)
        assert checkpoint_minutes(experiment) == (1e-3 if damaged == "nan" else estimate)
    experiment.cluster.checkpoint_minutes = 3
    assert checkpoint_minutes(experiment) == 3


def test_two_processes_do_not_write_the_report_at_once(tiny, monkeypatch):
    experiment = tiny()
    monkeypatch.setattr(jobs, "COLLECT_TIMEOUT_S", 0.0)
    message = r"report of .*/runs/digits is still being written by another process \(collecting, process 1\); rerun"
    held = lock.hold(experiment_folder(experiment) / "collect.lock", "collecting, process 1", 0)
    with held, pytest.raises(UserError, match=message):
        CollectExperiment(experiment, 1).run()
