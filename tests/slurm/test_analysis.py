"""Interrupted analysis jobs, damaged checkpoints, cancellation, and the status of each."""

import os
import re
import subprocess

import pytest
from submitit.core.utils import JobPaths

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.errors import UserError
from launch.plan import plan
from launch.slurm import queue, submissions
from launch.slurm.submit import in_queue
from records.layout import experiment_folder, jobs_folder

LONG = ["analyze.samples=16", "analyze.ddim_steps=100", "diffusion.steps=100"]


@pytest.fixture
def trained_study(tmp_path, with_checkpoints, slurm_arguments, load_arguments):
    """Return a function that returns arguments and experiment of a trained study, with one seed by default."""

    def study(*overrides: str):
        overrides = ("seeds=[0]", *overrides)
        with_checkpoints(*overrides)
        arguments = slurm_arguments(tmp_path, *overrides)
        return arguments, load_arguments(arguments)

    return study


def test_interrupted_jobs_are_resumed(trained_study, launch, wait_until, wait_for_end):
    """A signaled job is requeued. A canceled job is not; the next launch submits exactly the missing steps."""
    steps = list(range(0, 8))
    arguments, experiment = trained_study(f"train.checkpoints.at={steps}", "cluster.checkpoints_per_job=4", *LONG)
    launch(*arguments)
    analysis = SeedAnalysis(experiment, 0)
    ids = {task.name: task.id for submission in submissions.read(experiment) for task in submission.tasks}
    wait_until(lambda: analysis.results_file(0).exists(), pause_s=0.02)
    queue.cancel([ids["analyze seed 0 steps 0–3"]])
    queue.call("scancel", "--signal=USR2", ids["analyze seed 0 steps 4–7"])
    wait_for_end(experiment)
    missing = analysis.missing()
    assert missing and set(missing) <= {1, 2, 3}
    logs = next(submissions.read(experiment)).logs
    assert "; requeued" in JobPaths(logs, ids["analyze seed 0 steps 4–7"]).stdout.read_text()
    output = launch("status", *arguments[2:])
    assert re.search(r"2 jobs: .*1 cancelled", output) and "  analyze seed 0 steps 0–3" in output
    assert "failed: the study is incomplete: " in output
    assert f"{len(steps) + 1 - len(missing)}/{len(steps) + 1}" in output

    before = {file: file.stat().st_mtime_ns for file in analysis.folder.glob("*.json")}
    assert "2 jobs" not in launch(*arguments)
    *_, resubmitted, _collect = submissions.read(experiment)
    assert resubmitted.tasks[0].steps == sorted(missing)
    wait_for_end(experiment)
    assert plan(experiment) == []
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_damaged_checkpoint_does_not_affect_the_others(trained_study, launch, wait_for_end):
    arguments, experiment = trained_study("cluster.checkpoints_per_job=3")
    analysis = SeedAnalysis(experiment, 0)
    damaged = analysis.run.checkpoint(2) / "ema_0.99.safetensors"
    os.truncate(damaged, 1000)
    launch(*arguments)
    wait_for_end(experiment)
    assert analysis.missing() == [2]
    output = launch("status", *arguments[2:])
    (line,) = [line for line in output.splitlines() if line.startswith("  seed 0, step 2: ")]
    log = re.search(r"\(log: (.*)\)", line)[1]
    assert str(damaged) in line and os.path.exists(log)


def test_canceled_jobs_are_submitted_again(trained_study, launch, wait_for_end, call_counts):
    arguments, experiment = trained_study("cluster.additional_parameters={hold: true}")
    assert launch(*arguments).count("submitted ") == 3
    before = call_counts()
    assert re.fullmatch(r"canceled: \d+, \d+, \d+; .*\n", launch("cancel", *arguments[2:]))
    new_calls = {name: count - before.get(name, 0) for name, count in call_counts().items()}
    assert {name: count for name, count in new_calls.items() if count} == {"squeue": 1, "scancel": 1}
    wait_for_end(experiment)
    assert launch("status", *arguments[2:]).count("cancelled: never started") == 3
    assert launch("cancel", *arguments[2:]) == "no jobs of this study are in SLURM's queue\n"
    assert launch(*arguments).count("submitted ") == 3
    launch("cancel", *arguments[2:])


def test_two_simultaneous_launches_submit_once(trained_study, launch, launch_process):
    arguments, experiment = trained_study("cluster.additional_parameters={hold: true}")
    both = [launch_process(*arguments) for _ in range(2)]
    output = "".join(process.communicate()[0] for process in both)
    assert len(in_queue(experiment)) == len(list(submissions.read(experiment))) == 3
    assert "nothing to submit: 3 jobs of this study are in the queue" in output
    launch("cancel", *arguments[2:])


def test_status_other_cluster_uses_files(trained_study, launch, wait_for_end, other_cluster):
    arguments, experiment = trained_study("cluster.additional_parameters={hold: true}")
    with other_cluster():
        assert subprocess.run(["sacct"], capture_output=True).returncode
        launch(*arguments)
        launch("cancel", *arguments[2:])
        wait_for_end(experiment)
        assert launch("status", *arguments[2:]).count("unknown: never started") == 3
        launch(*arguments[:-1])  # not held
        wait_for_end(experiment)
        output = launch("status", *arguments[2:])
        assert output.count("  done\n") == 3 and re.search(r"seed 0 +4/4 +4/4 +0\n", output)


def test_a_refused_submission_is_reported_in_one_sentence(trained_study, launch):
    arguments, experiment = trained_study("cluster.partition=nosuch")
    with pytest.raises(
        UserError, match=r"^sbatch refuses analyze seed 0 step 8: .*invalid partition specified: nosuch"
    ):
        launch(*arguments)
    assert not jobs_folder(experiment).joinpath("submitted").exists()


def test_hundreds_of_checkpoints_are_few_calls_and_little_data(
    slurm_arguments, load_arguments, launch, call_counts, tmp_path
):
    """Three seeds are ten calls of sbatch, and no file is per checkpoint."""
    overrides = ["seeds=[0,10,42]", "train.steps=600", "train.checkpoints.strides=[{every: 1}]"]
    overrides += ["cluster.checkpoints_per_job=10", "cluster.additional_parameters={hold: true}"]
    arguments = slurm_arguments(tmp_path, *overrides)
    experiment = load_arguments(arguments)
    assert len(checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)) == 601
    launch(*arguments)
    assert call_counts() == {"sbatch": 10}
    assert len(in_queue(experiment)) == 3 * (1 + 1 + 60) + 1
    pickles = list(experiment_folder(experiment).rglob("*_submitted.pkl"))
    assert len(pickles) == 3 * (1 + 1 + 60) + 1 and sum(file.stat().st_size for file in pickles) < 2e6
    before = call_counts()
    launch("status", *arguments[2:])
    assert call_counts()["squeue"] - before["squeue"] == 1 and "sacct" not in call_counts()
    launch("cancel", *arguments[2:])
    assert in_queue(experiment) == {}
