"""Which jobs a study needs: everything at first, only what is missing later, nothing at the end."""

import os
import shutil

import pytest

from analyze.analysis import SeedAnalysis
from launch.jobs import Analyse, Train
from launch.plan import Queued, plan, slice_size, threads_per_job
from records.layout import seed_folder


def names(experiment) -> list[str]:
    return [job.name for job in plan(experiment)]


def test_a_fresh_study_needs_everything(tiny):
    """Per seed: the training, then the last checkpoint, then the others in slices."""
    experiment = tiny("cluster.checkpoints_per_job=2")
    jobs = plan(experiment)
    assert [(job.name, job.needs) for job in jobs if job.work.seed == 10] == [
        ("train seed 10", ()),
        ("analyse seed 10 step 8", ("train seed 10",)),
        ("analyse seed 10 steps 0–2", ("analyse seed 10 step 8",)),
        ("analyse seed 10 steps 5–5", ("analyse seed 10 step 8",)),
    ]
    assert [job.work.seed for job in jobs] == [0] * 4 + [10] * 4
    assert [type(job.work) for job in jobs[:4]] == [Train, Analyse, Analyse, Analyse]
    assert [job.work.steps for job in jobs[1:4]] == [(8,), (0, 2), (5,)]
    assert all(job.work.experiment == experiment for job in jobs)


def test_every_name_is_given_once_and_every_need_has_its_job(tiny):
    jobs = plan(tiny("seeds=[0,10,42]", "cluster.checkpoints_per_job=1"))
    told = [job.name for job in jobs]
    assert len(set(told)) == len(told) == 3 * 5
    assert all(told.index(need) < told.index(job.name) for job in jobs for need in job.needs)


def test_what_is_trained_is_not_trained_again(as_if_trained):
    jobs = plan(as_if_trained("seeds=[0]"))
    assert [(job.name, job.needs) for job in jobs] == [
        ("analyse seed 0 step 8", ()),
        ("analyse seed 0 steps 0–5", ("analyse seed 0 step 8",)),
    ]


def test_a_study_that_is_done_needs_nothing(analysed):
    assert plan(analysed()) == []


def test_only_what_is_missing_is_done(analysed):
    experiment = analysed()
    SeedAnalysis(experiment, 10).results_file(2).unlink()
    assert [(job.name, job.needs) for job in plan(experiment)] == [("analyse seed 10 steps 2–2", ())]


def test_a_training_that_was_not_finished_goes_on(analysed):
    """The last checkpoint, and with it all that is compared with it, waits for the training."""
    experiment = analysed("seeds=[0]")
    shutil.rmtree(seed_folder(experiment, 0).checkpoint(8))
    jobs = plan(experiment)
    assert jobs[0].name == "train seed 0" and jobs[1].work.steps == (8,) and jobs[1].needs == ("train seed 0",)
    seed_folder(experiment, 0).checkpoint(8).mkdir()
    seed_folder(experiment, 0).trained(8).unlink()
    assert names(experiment) == ["train seed 0"]


def test_a_longer_training_and_other_measures_are_planned(analysed, tiny):
    analysed()
    assert names(tiny("seeds=[0]", "train.steps=12")) == [
        "train seed 0",
        "analyse seed 0 step 12",
        "analyse seed 0 steps 0–5",
    ]
    assert names(tiny("seeds=[10]", "analyze.measures.knn_k=1")) == [
        "analyse seed 10 step 8",
        "analyse seed 10 steps 0–5",
    ]


@pytest.mark.parametrize(
    "kind, parallel, threads", [("local", 1, 6), ("local", 2, 3), ("local", 9, 1), ("debug", 2, 0)]
)
def test_jobs_share_the_cores(kind, parallel, threads, tiny, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)))
    experiment = tiny(f"cluster.kind={kind}", f"cluster.max_parallel={parallel}")
    assert threads_per_job(experiment) == threads
    assert all(job.work.threads == threads for job in plan(experiment))


def test_what_is_in_the_queue_is_not_planned_again(tiny):
    """What is new waits for it all the same."""
    experiment = tiny("seeds=[0]", "cluster.checkpoints_per_job=1")
    there = Queued(frozenset(["train seed 0"]), frozenset([(0, 2), (10, 0)]))
    assert [(job.name, job.needs) for job in plan(experiment, there)] == [
        ("analyse seed 0 step 8", ("train seed 0",)),
        ("analyse seed 0 steps 0–0", ("analyse seed 0 step 8",)),
        ("analyse seed 0 steps 5–5", ("analyse seed 0 step 8",)),
    ]
    there = Queued(there.names | {"analyse seed 0 step 8"}, frozenset([(0, 0), (0, 2)]))
    assert [(job.name, job.needs) for job in plan(experiment, there)] == [
        ("analyse seed 0 steps 5–5", ("analyse seed 0 step 8",))
    ]


@pytest.mark.parametrize(
    "minutes, parallel, checkpoints, size", [(6, 4, 600, 10), (90, 4, 600, 1), (1, 4, 600, 60), (1, 4, 10, 3)]
)
def test_a_slice_takes_an_hour_or_an_even_share(minutes, parallel, checkpoints, size, tiny):
    options = [f"cluster.checkpoint_minutes={minutes}", f"cluster.max_parallel={parallel}"]
    experiment = tiny("cluster.checkpoints_per_job=null", "cluster.slice_minutes=60", *options)
    assert slice_size(experiment, checkpoints) == size
