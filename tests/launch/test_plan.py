"""Planned jobs: everything for a new study, only the missing parts later, nothing for a complete one."""

import os
import shutil

import pytest

from analyze.analysis import SeedAnalysis
from analyze.report.study import missing
from launch.jobs import Analyze, Train
from launch.plan import Queued, plan, slice_size, threads_per_job
from records.layout import experiment_folder, seed_folder


def job_names(experiment) -> list[str]:
    return [job.name for job in plan(experiment)]


def test_a_new_study_needs_everything(tiny):
    """Per seed: the training, then the last checkpoint, then the others in slices."""
    experiment = tiny("cluster.checkpoints_per_job=2")
    jobs = plan(experiment)
    assert [(job.name, job.needs) for job in jobs if job.work.seed == 10] == [
        ("train seed 10", ()),
        ("analyze seed 10 step 8", ("train seed 10",)),
        ("analyze seed 10 steps 0–2", ("analyze seed 10 step 8",)),
        ("analyze seed 10 steps 5–5", ("analyze seed 10 step 8",)),
    ]
    assert [job.work.seed for job in jobs] == [0] * 4 + [10] * 4
    assert [type(job.work) for job in jobs[:4]] == [Train, Analyze, Analyze, Analyze]
    assert [job.work.steps for job in jobs[1:4]] == [(8,), (0, 2), (5,)]
    assert all(job.work.study == experiment for job in jobs)


def test_names_are_unique_and_needed_jobs_come_first(tiny):
    jobs = plan(tiny("seeds=[0,10,42]", "cluster.checkpoints_per_job=1"))
    order = [job.name for job in jobs]
    assert len(set(order)) == len(order) == 3 * 5
    assert all(order.index(need) < order.index(job.name) for job in jobs for need in job.needs)


def test_a_trained_seed_is_not_trained_again(with_checkpoints):
    jobs = plan(with_checkpoints("seeds=[0]"))
    assert [(job.name, job.needs) for job in jobs] == [
        ("analyze seed 0 step 8", ()),
        ("analyze seed 0 steps 0–5", ("analyze seed 0 step 8",)),
    ]


def test_a_complete_study_needs_nothing(analyzed):
    assert plan(analyzed()) == []


def test_a_checkpoint_that_was_deleted_after_training_is_not_planned(analyzed):
    """Training does not write it again, so an analysis would wait for it forever."""
    experiment = analyzed()
    shutil.rmtree(seed_folder(experiment, 0).checkpoint(2))
    assert plan(experiment) == [] and missing(experiment) == []


def test_a_moved_study_needs_nothing(analyzed, tiny, tmp_path):
    shutil.move(experiment_folder(analyzed()), tmp_path / "elsewhere" / "digits")
    assert plan(tiny()) != []
    assert plan(tiny(f"runs={tmp_path}/elsewhere")) == []


def test_only_missing_results_are_planned(analyzed):
    experiment = analyzed()
    SeedAnalysis(experiment, 10).results_file(2).unlink()
    assert [(job.name, job.needs) for job in plan(experiment)] == [("analyze seed 10 steps 2–2", ())]


def test_an_unfinished_training_is_resumed(analyzed):
    """The last checkpoint and everything compared with it wait for the training."""
    experiment = analyzed("seeds=[0]")
    shutil.rmtree(seed_folder(experiment, 0).checkpoint(8))
    jobs = plan(experiment)
    assert jobs[0].name == "train seed 0" and jobs[1].work.steps == (8,) and jobs[1].needs == ("train seed 0",)
    seed_folder(experiment, 0).checkpoint(8).mkdir()
    seed_folder(experiment, 0).trained(8).unlink()
    assert job_names(experiment) == ["train seed 0"]


def test_a_longer_training_and_changed_measures_are_planned(analyzed, tiny):
    analyzed()
    assert job_names(tiny("seeds=[0]", "train.steps=12")) == [
        "train seed 0",
        "analyze seed 0 step 12",
        "analyze seed 0 steps 0–5",
    ]
    assert job_names(tiny("seeds=[10]", "analyze.measures.knn_k=1")) == [
        "analyze seed 10 step 8",
        "analyze seed 10 steps 0–5",
    ]


@pytest.mark.parametrize(
    "kind, parallel, threads", [("local", 1, 6), ("local", 2, 3), ("local", 9, 1), ("debug", 2, 0)]
)
def test_jobs_share_the_cores(kind, parallel, threads, tiny, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    experiment = tiny(f"cluster.kind={kind}", f"cluster.max_parallel={parallel}")
    assert threads_per_job(experiment) == threads
    assert all(job.work.threads == threads for job in plan(experiment))


def test_queued_work_is_not_planned_again(tiny):
    """New jobs still depend on it."""
    experiment = tiny("seeds=[0]", "cluster.checkpoints_per_job=1")
    queued = Queued(frozenset(["train seed 0"]), frozenset([(0, 2), (10, 0)]))
    assert [(job.name, job.needs) for job in plan(experiment, queued)] == [
        ("analyze seed 0 step 8", ("train seed 0",)),
        ("analyze seed 0 steps 0–0", ("analyze seed 0 step 8",)),
        ("analyze seed 0 steps 5–5", ("analyze seed 0 step 8",)),
    ]
    queued = Queued(queued.names | {"analyze seed 0 step 8"}, frozenset([(0, 0), (0, 2)]))
    assert [(job.name, job.needs) for job in plan(experiment, queued)] == [
        ("analyze seed 0 steps 5–5", ("analyze seed 0 step 8",))
    ]


@pytest.mark.parametrize(
    "minutes, parallel, checkpoints, size", [(6, 4, 600, 10), (90, 4, 600, 1), (1, 4, 600, 60), (1, 4, 10, 3)]
)
def test_a_slice_is_an_hour_of_work_or_an_even_share(minutes, parallel, checkpoints, size, tiny):
    options = [f"cluster.checkpoint_minutes={minutes}", f"cluster.max_parallel={parallel}"]
    experiment = tiny("cluster.checkpoints_per_job=null", "cluster.slice_minutes=60", *options)
    assert slice_size(experiment, checkpoints) == size
