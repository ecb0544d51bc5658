"""Analysis jobs that are ended on their way, checkpoints that are damaged, and what is said and done about it."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from configs.checks import checkpoint_steps
from configs.errors import UserError
from launch.plan import plan
from launch.slurm import queue, submissions
from launch.slurm.submit import in_queue
from records.layout import experiment_folder, jobs_folder

LONG = ["analyze.samples=16", "analyze.ddim_steps=100", "diffusion.steps=100"]


@pytest.fixture
def prepared(tmp_path, with_checkpoints, asked, loaded):
    """A function: arguments and experiment of a study that is trained, of one seed unless said otherwise."""

    def study(*overrides: str):
        overrides = ("seeds=[0]", *overrides)
        with_checkpoints(*overrides)
        arguments = asked(tmp_path, *overrides)
        return arguments, loaded(arguments)

    return study


def test_a_job_that_is_cancelled_in_its_slice(prepared, launch, wait_until, wait_for_end):
    """Launching again does exactly what is missing; what others had done stays. One that is signalled goes on."""
    steps = list(range(0, 8))
    arguments, experiment = prepared(f"train.checkpoints.at={steps}", "cluster.checkpoints_per_job=4", *LONG)
    launch(*arguments)
    analysis = SeedAnalysis(experiment, 0)
    tasks = {task.name: task.id for note in submissions.read(experiment) for task in note.tasks}
    wait_until(lambda: analysis.results_file(0).exists(), pause_s=0.02)
    queue.cancel([tasks["analyse seed 0 steps 0–3"]])
    queue.call("scancel", "--signal=USR2", tasks["analyse seed 0 steps 4–7"])
    wait_for_end(experiment)
    missing = analysis.missing()
    assert missing and set(missing) <= {1, 2, 3}
    logs = next(submissions.read(experiment)).logs
    assert "goes back into the queue" in Path(logs, f"{tasks['analyse seed 0 steps 4–7']}_0_log.out").read_text()
    said = launch("status", *arguments[2:])
    assert re.search(r"2 jobs: .*1 cancelled", said) and "  analyse seed 0 steps 0–3" in said
    assert "failed: the study is not complete: " in said and f"{len(steps) + 1 - len(missing)}/{len(steps) + 1}" in said

    before = {file: file.stat().st_mtime_ns for file in analysis.folder.glob("*.json")}
    assert "2 jobs" not in launch(*arguments)
    assert [task.steps for *_, task in [(note, *note.tasks[:1]) for note in submissions.read(experiment)][-2:-1]] == [
        sorted(missing)
    ]
    wait_for_end(experiment)
    assert plan(experiment) == []
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_damaged_checkpoint_leaves_the_others_alone(prepared, launch, wait_for_end):
    arguments, experiment = prepared("cluster.checkpoints_per_job=3")
    analysis = SeedAnalysis(experiment, 0)
    damaged = analysis.run.checkpoint(2) / "ema_0.99.safetensors"
    os.truncate(damaged, 1000)
    launch(*arguments)
    wait_for_end(experiment)
    assert analysis.missing() == [2]
    said = launch("status", *arguments[2:])
    (line,) = [line for line in said.splitlines() if line.startswith("  seed 0, step 2: ")]
    log = re.search(r"\(log: (.*)\)", line)[1]
    assert str(damaged) in line and os.path.exists(log)


def test_cancel_ends_all_and_launching_again_submits_all(prepared, launch, wait_for_end, counted):
    arguments, experiment = prepared("cluster.additional_parameters={hold: true}")
    first = launch(*arguments)
    assert first.count("submitted ") == 3
    before = counted()
    assert re.fullmatch(r"cancelled: \d+, \d+, \d+; .*\n", launch("cancel", *arguments[2:]))
    assert {name: times - before.get(name, 0) for name, times in counted().items() if times != before.get(name)} == {
        "squeue": 1,
        "scancel": 1,
    }
    wait_for_end(experiment)
    assert launch("status", *arguments[2:]).count("cancelled: it never began") == 3
    assert launch("cancel", *arguments[2:]) == "no jobs of this study are in SLURM's queue\n"
    assert launch(*arguments).count("submitted ") == 3
    launch("cancel", *arguments[2:])


def test_two_who_launch_at_once_submit_it_once(prepared, launch, launch_process):
    arguments, experiment = prepared("cluster.additional_parameters={hold: true}")
    both = [launch_process(*arguments) for _ in range(2)]
    said = "".join(process.communicate()[0] for process in both)
    assert len(in_queue(experiment)) == len(list(submissions.read(experiment))) == 3
    assert "nothing to submit: 3 jobs of this study are in the queue" in said
    launch("cancel", *arguments[2:])


def test_without_accounting_the_files_tell(prepared, launch, wait_for_end, without_accounting):
    arguments, experiment = prepared("cluster.additional_parameters={hold: true}")
    with without_accounting():
        assert subprocess.run(["sacct"], capture_output=True).returncode
        launch(*arguments)
        launch("cancel", *arguments[2:])
        wait_for_end(experiment)
        assert launch("status", *arguments[2:]).count("gone: it never began") == 3
        launch(*arguments[:-1])  # not held
        wait_for_end(experiment)
        said = launch("status", *arguments[2:])
        assert said.count("  done\n") == 3 and re.search(r"seed 0 +4/4 +4/4 +0\n", said)


def test_what_slurm_refuses_is_said_in_a_sentence(prepared, launch):
    arguments, experiment = prepared("cluster.partition=nosuch")
    with pytest.raises(
        UserError, match=r"^sbatch refuses analyse seed 0 step 8: .*invalid partition specified: nosuch"
    ):
        launch(*arguments)
    assert not jobs_folder(experiment).joinpath("submitted").exists()


def test_three_seeds_of_hundreds_of_checkpoints_are_ten_calls(asked, loaded, launch, counted, tmp_path):
    """And little to write: nothing of it is by checkpoint."""
    overrides = ["seeds=[0,10,42]", "train.steps=600", "train.checkpoints.strides=[{every: 1}]"]
    overrides += ["cluster.checkpoints_per_job=10", "cluster.additional_parameters={hold: true}"]
    arguments = asked(tmp_path, *overrides)
    experiment = loaded(arguments)
    assert len(checkpoint_steps(experiment.train.checkpoints, experiment.train.steps)) == 601
    launch(*arguments)
    assert counted() == {"sbatch": 10}
    assert len(in_queue(experiment)) == 3 * (1 + 1 + 60) + 1
    pickles = list(experiment_folder(experiment).rglob("*_submitted.pkl"))
    assert len(pickles) == 3 * (1 + 1 + 60) + 1 and sum(file.stat().st_size for file in pickles) < 2e6
    before = counted()
    launch("status", *arguments[2:])
    assert counted()["squeue"] - before["squeue"] == 1 and "sacct" not in counted()
    launch("cancel", *arguments[2:])
    assert in_queue(experiment) == {}
