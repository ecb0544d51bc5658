"""A whole study through SLURM and on this machine: the same numbers, in the order and width that was asked for."""

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
]


@dataclass(frozen=True)
class Study:
    arguments: list[str]
    experiment: Experiment
    meanwhile: str  # what `launch status` said while it waited
    afterwards: str


@pytest.fixture(scope="module")
def study(tmp_path_factory, asked, loaded, launch, launch_process, wait_for_end, repository) -> Study:
    """A study of two seeds, whose code was broken after it had been handed over and before any job began."""
    folder, code = tmp_path_factory.mktemp("study"), tmp_path_factory.mktemp("code")
    for room in ROOMS:
        shutil.copytree(repository / room, code / room, ignore=shutil.ignore_patterns("__pycache__"))
    arguments = asked(folder, *OPTIONS)
    launching = launch_process(*arguments, "cluster.additional_parameters={hold: true}", cwd=code)
    said, _ = launching.communicate()
    assert launching.returncode == 0, said
    (code / "launch" / "jobs.py").write_text("raise RuntimeError('edited after it was launched')\n")
    experiment = loaded(arguments)
    meanwhile = launch("status", *arguments[2:])
    for note in submissions.read(experiment):
        queue.call("scontrol", "release", note.id)
    wait_for_end(experiment)
    return Study(arguments, experiment, meanwhile, launch("status", *arguments[2:]))


@pytest.fixture(scope="module")
def local(tmp_path_factory, command_line, launch_process, loaded) -> Experiment:
    """The same study on this machine."""
    options = [*OPTIONS, "cluster.checkpoints_per_job=3"]
    arguments = ["--cluster", "local", *command_line(tmp_path_factory.mktemp("local"), *options)]
    launching = launch_process(*arguments)
    said, _ = launching.communicate()
    assert launching.returncode == 0, said
    return loaded(arguments)


def test_status_tells_what_waits_and_what_is_done(study):
    rows = [line.split("  ")[0].strip() for line in study.meanwhile.splitlines()]
    per_seed = [[f"train seed {seed}", f"analyse seed {seed} step 8", f"analyse seed {seed}"] for seed in (0, 10)]
    assert rows[1:8] == [*per_seed[0], *per_seed[1], "collect"]
    assert "3 jobs: 3 pending" in study.meanwhile and study.meanwhile.count("pending: ") == 5
    assert study.afterwards.count("3 jobs: 3 done") == 2 and "pending" not in study.afterwards
    assert re.search(r"seed 10 +4/4 +4/4 +0\n", study.afterwards)


def test_numbers_weights_and_tables_are_those_of_this_machine(study, local):
    for seed in (0, 10):
        ours, theirs = SeedAnalysis(study.experiment, seed), SeedAnalysis(local, seed)
        assert ours.steps == theirs.steps == [0, 2, 5, 8]
        for step in ours.steps:
            assert ours.results(step) == theirs.results(step)
            one, other = (where.run.checkpoint(step) / "model.safetensors" for where in (ours, theirs))
            assert one.read_bytes() == other.read_bytes()
        assert ours.run.log.read_bytes() == theirs.run.log.read_bytes()
    for table in (report_folder(local) / "tables").iterdir():
        assert (report_folder(study.experiment) / "tables" / table.name).read_bytes() == table.read_bytes()
    assert "What is missing" not in (report_folder(study.experiment) / "index.html").read_text()


def test_wandb_shows_each_point_once(study, local):
    shown = wandb_points(study.experiment)
    assert shown == wandb_points(local)
    for seed in (0, 10):
        points = seed_points(SeedAnalysis(study.experiment, seed))
        steps = [step for step, _ in shown[f"digits seed {seed} analysis"]]
        assert sorted(steps) == [point["step"] for point in points]


def wandb_points(experiment: Experiment) -> dict[str, list[tuple]]:
    """What the offline runs show: by the run's name its (step, numbers) in the order of steps."""
    runs = {}
    for folder in offline_runs(experiment_folder(experiment)):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        records = [json.loads(line) for line in text.splitlines()]
        (name,) = [record["run"]["display_name"] for record in records if record["type"] == "run"]
        assert name not in runs
        items = [record["history"]["item"] for record in records if record["type"] == "history"]
        runs[name] = sorted((item["step"], sorted(measured(item).items())) for item in items)
    return runs


def measured(item: dict) -> dict:
    """The numbers that do not depend on the machine or the moment."""
    of_the_machine = ("_", "images_per_s", "tflop_per_s")
    return {key: value for key, value in item.items() if not key.startswith(of_the_machine) and "pictures" not in key}


def test_dependencies_and_parallelism_are_kept(study):
    """By the times that the jobs' own logs tell."""
    spans = {
        task.name: span(Path(note.logs), task.id) for note in submissions.read(study.experiment) for task in note.tasks
    }
    for seed in (0, 10):
        slices = [spans[name] for name in spans if name.startswith(f"analyse seed {seed} steps")]
        last = spans[f"analyse seed {seed} step 8"]
        assert spans[f"train seed {seed}"][1] <= last[0] and last[1] <= min(slices)[0] and len(slices) == 3
        at_once = [sum(begin <= moment < end for begin, end in slices) for moment, _ in slices]
        assert max(at_once) == study.experiment.cluster.max_parallel
    assert spans["collect"][0] >= max(end for name, (_, end) in spans.items() if name != "collect")


def span(logs: Path, job: str) -> tuple[datetime, datetime]:
    lines = (logs / f"{job}_0_log.out").read_text().splitlines()
    first, last = (next(line for line in some if "submitit INFO" in line) for some in (lines, reversed(lines)))
    begin, end = (datetime.strptime(re.search(r"\((.*?)\)", line)[1], "%Y-%m-%d %H:%M:%S,%f") for line in (first, last))
    return begin, end


def test_again_there_is_nothing_to_submit(study, launch, counted):
    before = {file: file.stat().st_mtime_ns for file in seed_folder(study.experiment, 0).root.rglob("*.json")}
    said = launch(*study.arguments)
    assert "nothing to submit: all is trained and analyzed" in said and "Report:" in said
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert counted() == {"squeue": 1}
