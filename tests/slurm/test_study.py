"""A whole study on SLURM and on this machine: equal numbers, dependencies, parallelism."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from configs.schema import Experiment
from launch.slurm import queue, submissions
from launch.snapshot import ROOMS
from records.layout import experiment_folder, report_folder, seed_folder
from records.tracking.runs import offline_runs

OPTIONS = [
    "train.checkpoints.at=[0,2,5]",
    "wandb.mode=offline",
    "cluster.checkpoints_per_job=1",
    "analyze.weights=model",
    "analyze.measures.inversion_checkpoints=last",
    "analyze.measures.inverters=[naive (diffusers),fixed point]",
    "analyze.measures.inverter_nfe=[8]",
]


@dataclass(frozen=True)
class Study:
    arguments: list[str]
    experiment: Experiment
    status_queued: str  # output of `launch status` while all jobs were held
    status_done: str


@pytest.fixture(scope="module")
def study(tmp_path_factory, slurm_arguments, load_arguments, launch, launch_process, wait_for_end, repository) -> Study:
    """A study of two seeds; its code was broken after the submission and before any job started."""
    folder, code = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("code")
    for room in ROOMS:
        shutil.copytree(repository / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    arguments = slurm_arguments(folder, *OPTIONS)
    launcher = launch_process(*arguments, "cluster.additional_parameters={hold: true}", cwd=code)
    output, _ = launcher.communicate()
    assert launcher.returncode == 0, output
    (code / "launch" / "jobs.py").write_text("raise RuntimeError('edited after the launch')\n")
    experiment = load_arguments(arguments)
    status_queued = launch("status", *arguments[2:])
    for submission in submissions.read(experiment):
        queue.call("scontrol", "release", submission.id)
    wait_for_end(experiment)
    return Study(arguments, experiment, status_queued, launch("status", *arguments[2:]))


@pytest.fixture(scope="module")
def local(tmp_path_factory, command_line, launch_process, load_arguments) -> Experiment:
    """The same study on this machine."""
    options = [*OPTIONS, "cluster.checkpoints_per_job=3"]
    arguments = ["--cluster", "local", *command_line(tmp_path_factory.mktemp("local"), *options)]
    launcher = launch_process(*arguments)
    output, _ = launcher.communicate()
    assert launcher.returncode == 0, output
    return load_arguments(arguments)


def test_status_lists_pending_and_done_jobs(study):
    rows = [line.split("  ")[0].strip() for line in study.status_queued.splitlines()]
    per_seed = [[f"train seed {seed}", f"analyze seed {seed} step 8", f"analyze seed {seed}"] for seed in (0, 10)]
    assert rows[1:8] == [*per_seed[0], *per_seed[1], "collect"]
    assert "3 jobs: 3 pending" in study.status_queued and study.status_queued.count("pending: ") == 5
    assert study.status_done.count("3 jobs: 3 done") == 2 and "pending" not in study.status_done
    assert re.search(r"seed 10 +4/4 +4/4 +0\n", study.status_done)


def test_numbers_weights_and_tables_equal_a_local_study(study, local):
    for seed in (0, 10):
        ours, theirs = SeedAnalysis(study.experiment, seed), SeedAnalysis(local, seed)
        assert ours.steps == theirs.steps == [0, 2, 5, 8]
        assert seed_points(ours) == seed_points(theirs) and "inverters/fixed-point-K2" in seed_points(ours)[-1]
        for step in ours.steps:
            without_durations = {"inverters": None}
            assert ours.results(step) | without_durations == theirs.results(step) | without_durations
            on_slurm, on_this = (each.run.checkpoint(step) / "model.safetensors" for each in (ours, theirs))
            assert on_slurm.read_bytes() == on_this.read_bytes()
        assert ours.run.log.read_bytes() == theirs.run.log.read_bytes()
    for table in (report_folder(local) / "tables").iterdir():
        assert (report_folder(study.experiment) / "tables" / table.name).read_bytes() == table.read_bytes()
    assert "Missing results" not in (report_folder(study.experiment) / "index.html").read_text()


def test_wandb_shows_each_point_once(study, local):
    runs = wandb_points(study.experiment)
    assert runs == wandb_points(local)
    for seed in (0, 10):
        points = seed_points(SeedAnalysis(study.experiment, seed))
        steps = [step for step, _ in runs[f"digits seed {seed} analysis"]]
        assert sorted(steps) == [point["step"] for point in points]


def wandb_points(experiment: Experiment) -> dict[str, list[tuple]]:
    """Return the (step, numbers) of each offline run by its display name, in the order of steps."""
    runs = {}
    for folder in offline_runs(experiment_folder(experiment)):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in text.splitlines()]
        (name,) = [record["run"]["display_name"] for record in records if record["type"] == "run"]
        assert name not in runs
        items = [record["history"]["item"] for record in records if record["type"] == "history"]
        runs[name] = sorted((item["step"], sorted(reproducible(item).items())) for item in items)
    return runs


def reproducible(item: dict) -> dict:
    """Return the numbers that do not depend on the machine or the time."""
    prefixes = ("_", "images_per_s", "tflop_per_s")
    return {key: value for key, value in item.items() if not key.startswith(prefixes) and "pictures" not in key}


def test_jobs_respect_dependencies_and_parallelism(study):
    """According to the times in the jobs' logs."""
    spans = {
        task.name: span(submission.paths(task).stdout)
        for submission in submissions.read(study.experiment)
        for task in submission.tasks
    }
    for seed in (0, 10):
        slices = [spans[name] for name in spans if name.startswith(f"analyze seed {seed} steps")]
        last = spans[f"analyze seed {seed} step 8"]
        assert spans[f"train seed {seed}"][1] <= last[0] and last[1] <= min(slices)[0] and len(slices) == 3
        at_once = [sum(begin <= moment < end for begin, end in slices) for moment, _ in slices]
        assert max(at_once) == study.experiment.cluster.max_parallel
    assert spans["collect"][0] >= max(end for name, (_, end) in spans.items() if name != "collect")


def span(log: Path) -> tuple[datetime, datetime]:
    """Return the start and end of a job, from submitit's lines in its log."""
    lines = log.read_text().splitlines()
    first, last = (next(line for line in some if "submitit INFO" in line) for some in (lines, reversed(lines)))
    begin, end = (datetime.strptime(re.search(r"\((.*?)\)", line)[1], "%Y-%m-%d %H:%M:%S,%f") for line in (first, last))
    return begin, end


def test_a_complete_study_submits_nothing(study, launch, call_counts):
    before = {file: file.stat().st_mtime_ns for file in seed_folder(study.experiment, 0).root.rglob("*.json")}
    output = launch(*study.arguments)
    assert "nothing to submit: everything is trained and analyzed" in output and "Report:" in output
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert call_counts() == {"squeue": 1}
