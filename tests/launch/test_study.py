"""The whole study command: a first run, a rerun, a killed launcher, and a damaged checkpoint."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import curves, seed_points
from analyze.report.findings import findings
from configs.load import load
from configs.schema import Experiment
from launch.plan import plan
from records.layout import experiment_folder, report_folder, saved_steps, seed_folder
from records.tracking.points import read_points
from records.tracking.runs import offline_runs

OPTIONS = [
    "train.steps=40",
    "train.checkpoints.at=[0,2,25]",
    "train.state_every_minutes=0",
    "analyze.weights=model",
    "wandb.mode=offline",
]
TIMEOUT_S = 300


@dataclass(frozen=True)
class Study:
    """A study: the arguments of its command and what the command printed."""

    arguments: list[str]
    stdout: str

    @property
    def experiment(self) -> Experiment:
        config, *options = self.arguments
        return load(config, options)

    @property
    def analyses(self) -> list[SeedAnalysis]:
        return [SeedAnalysis(self.experiment, seed) for seed in self.experiment.seeds]


@pytest.fixture(scope="module")
def launch(start):
    """Return a function that runs `python -m launch` and returns its exit status, stdout and stderr."""

    def run(arguments: list[str]) -> tuple[int, str, str]:
        process = start("launch", *arguments)
        stdout, stderr = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, stdout, stderr

    return run


@pytest.fixture(scope="module")
def study(tmp_path_factory, command_line, launch) -> Study:
    """An uninterrupted study of two seeds."""
    arguments = command_line(tmp_path_factory.mktemp("study"), *OPTIONS)
    status, stdout, stderr = launch(arguments)
    assert status == 0, stderr
    return Study(arguments, stdout)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, command_line, launch, start, wait_until) -> Study:
    """The study's second seed, with the launcher killed once during training and once during analysis."""
    arguments = command_line(tmp_path_factory.mktemp("killed"), *OPTIONS, "seeds=[10]", "cluster.checkpoints_per_job=2")
    started = Study(arguments, "")
    (analysis,) = started.analyses
    state, results = seed_folder(started.experiment, 10).state, analysis.folder
    step, count = random.randint(1, 39), random.randint(0, 3)
    print(f"killed after step {step} and after {count} results")
    reached = [lambda: saved_steps(state)[-1:] >= [step], lambda: len(list(results.glob("[0-9]*.json"))) >= count]
    for is_reached in reached:
        launcher = start("launch", *arguments)
        wait_until(lambda launcher=launcher, is_reached=is_reached: is_reached() or launcher.poll() is not None)
        time.sleep(random.random() / 4)
        assert launcher.poll() in (None, 0), launcher.communicate()
        launcher.kill()
        launcher.wait()
    status, stdout, stderr = launch(arguments)
    assert status == 0, stderr
    return Study(arguments, stdout)


def results(study: Study, seed: int) -> dict[int, dict]:
    analysis = SeedAnalysis(study.experiment, seed)
    return {step: analysis.results(step) for step in analysis.steps}


def versions(study: Study) -> dict[Path, tuple]:
    """Return modification time and inode of the files that are written once: checkpoints, analyses and W&B runs."""
    folder = experiment_folder(study.experiment)
    patterns = (
        "seed_*/checkpoints/*/*",
        "seed_*/analysis/*/*",
        "seed_*/analysis/*/generations/**/*",
        "wandb/offline-run-*/*.wandb",
    )
    files = [file for pattern in patterns for file in folder.glob(pattern) if file.is_file()]
    return {file: (file.stat().st_mtime_ns, file.stat().st_ino) for file in files}


def wandb_runs(study: Study) -> dict[str, list[dict]]:
    """Return the records of every offline run by the run's display name."""
    runs = {}
    for folder in offline_runs(experiment_folder(study.experiment)):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
        text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
        records = [json.loads(line) for line in text.splitlines()]
        (run,) = [record["run"] for record in records if record["type"] == "run"]
        assert run["display_name"] not in runs
        runs[run["display_name"]] = records
    return runs


def history(records: list[dict]) -> list[dict]:
    return [record["history"]["item"] for record in records if record["type"] == "history"]


def test_the_output_ends_with_findings_report_and_wandb(study):
    sentences = findings(study.experiment, curves(study.analyses))
    report = report_folder(study.experiment) / "index.html"
    lines = study.stdout.splitlines()
    place = lines.index(sentences[0])
    assert lines[place : place + 3] == sentences
    assert lines[place + 3].startswith("Not measured: the DINO weights /absent")
    place += 1
    assert lines[place + 4] == f"Report:  {report}"
    figures, tables = (report.parent / name for name in ("figures", "tables"))
    assert lines[place + 5 : place + 7] == [
        f"Figures: {figures} ({len(list(figures.iterdir()))} files)",
        f"Tables:  {tables} ({len(list(tables.iterdir()))} files)",
    ]
    assert lines[place + 7].startswith("W&B:     4 offline runs") and len(lines) == place + 9


def test_the_study_is_complete(study):
    assert plan(study.experiment) == []
    for analysis in study.analyses:
        assert analysis.steps == saved_steps(analysis.run.checkpoints) == [0, 2, 25, 40]
        assert analysis.missing() == [] and analysis.failures() == {}
    page = (report_folder(study.experiment) / "index.html").read_text()
    assert "Missing results" not in page and page.count("<img") > 10


def test_training_changes_the_measures(study):
    """The tests of equal numbers below would prove nothing otherwise."""
    for seed in (0, 10):
        by_step = results(study, seed)
        values = [by_step[step]["distances"]["values"]["noise_latent"] for step in (0, 2, 25, 40)]
        assert len(set(values)) == 4
        assert by_step[0]["cka"]["values"]["biased"] < by_step[40]["cka"]["values"]["biased"] == pytest.approx(1)
    assert results(study, 0) != results(study, 10)


def test_a_rerun_of_a_complete_study_writes_nothing(study, launch):
    before = versions(study)
    assert len(before) > 30
    status, stdout, stderr = launch(study.arguments)
    assert (status, stdout) == (0, study.stdout), stderr
    assert versions(study) == before


def test_a_study_resumed_after_kills_is_bit_exact(study, killed):
    """In weights, logs and measures."""
    assert results(killed, 10) == results(study, 10)
    expected, resumed = (seed_folder(each.experiment, 10) for each in (study, killed))
    assert resumed.log.read_bytes() == expected.log.read_bytes()
    for file in expected.checkpoints.glob("*/*.safetensors"):
        assert (resumed.checkpoints / file.relative_to(expected.checkpoints)).read_bytes() == file.read_bytes()
    assert saved_steps(resumed.checkpoints) == saved_steps(expected.checkpoints)


@pytest.mark.parametrize("name", ["study", "killed"])
def test_each_seed_is_one_wandb_run_of_training_and_one_of_analysis(name, request):
    """Each run contains every point exactly once, at its step, even if the study was killed."""
    study = request.getfixturevalue(name)
    runs, experiment = wandb_runs(study), study.experiment
    assert runs.keys() == {f"digits seed {seed} {job}" for seed in experiment.seeds for job in ("train", "analysis")}
    for seed, analysis in zip(experiment.seeds, study.analyses, strict=True):
        assert_points(runs[f"digits seed {seed} train"], read_points(analysis.run.log))
        assert_points(runs[f"digits seed {seed} analysis"], seed_points(analysis))
        for item in history(runs[f"digits seed {seed} analysis"]):
            assert item["pictures/samples._type"] == item["pictures/latents._type"] == "image-file"


def assert_points(records: list[dict], points: list[dict]) -> None:
    """Check that a run has all points, each once and in order, and that the training step is the x axis."""
    items = history(records)
    assert [item["step"] for item in items] == [item["_step"] for item in items] == [point["step"] for point in points]
    for item, point in zip(items, points, strict=True):
        assert {key: item[key] for key in point} == pytest.approx(point, rel=1e-12)
    axes = [record["metric"] for record in records if record["type"] == "metric"]
    assert [axis["step_metric"] for axis in axes if axis.get("glob_name") == "*"] == ["step"]
    assert [record["type"] for record in records].count("exit") == 1


def test_the_next_launch_publishes_a_missing_wandb_run(study, launch, command_line, tmp_path):
    """Training is not repeated to publish its run."""
    shutil.copytree(Path(study.experiment.runs).parent, tmp_path, dirs_exist_ok=True)
    incomplete = Study(command_line(tmp_path, *OPTIONS), "")
    run = seed_folder(incomplete.experiment, 10)
    (run.root / "wandb_published").unlink()
    shutil.rmtree(experiment_folder(incomplete.experiment) / "wandb")
    status, _, stderr = launch(incomplete.arguments)
    assert status == 0, stderr
    runs = wandb_runs(incomplete)
    assert runs.keys() == {"digits seed 10 train"}
    assert_points(runs["digits seed 10 train"], read_points(run.log))


@pytest.fixture
def continued(study, launch, command_line, tmp_path):
    """Return a function that launches a copy of the study with changed options."""
    shutil.copytree(Path(study.experiment.runs).parent, tmp_path, dirs_exist_ok=True)

    def launch_again(*options: str) -> Study:
        arguments = command_line(tmp_path, *OPTIONS, *options)
        status, stdout, stderr = launch(arguments)
        assert status == 0, stderr
        return Study(arguments, stdout)

    return launch_again


def test_a_seed_is_added_to_a_finished_study(study, continued):
    """The other seeds are neither trained nor analyzed again, and the report averages over all three."""
    larger = continued("seeds=[0,10,42]")
    for seed in (0, 10):
        assert results(larger, seed) == results(study, seed)
        files = [seed_folder(each.experiment, seed) for each in (study, larger)]
        assert files[0].trained(40).stat().st_mtime_ns == files[1].trained(40).stat().st_mtime_ns
    assert larger.analyses[2].missing() == [] and results(larger, 42) != results(study, 0)
    assert "3 seeds" in (report_folder(larger.experiment) / "index.html").read_text()


def test_a_finished_study_is_trained_on(study, continued):
    """Images are kept; similarities are computed again, because they compare with the new last checkpoint."""
    longer = continued("seeds=[10]", "train.steps=50")
    before, after = results(study, 10), results(longer, 10)
    assert list(after) == [0, 2, 25, 50] and plan(longer.experiment) == []
    assert after[2]["distances"] == before[2]["distances"] and after[2]["cka"] != before[2]["cka"]
    points = [read_points(seed_folder(each.experiment, 10).log) for each in (study, longer)]
    assert points[1][: len(points[0])] == points[0] and points[1][-1]["step"] == 50


def test_a_damaged_checkpoint_is_reported_and_the_report_is_written(study, launch, command_line, tmp_path):
    """Its measures are deleted first, so that the analysis reads the checkpoint again."""
    folder = Path(study.experiment.runs).parent
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    damaged = Study(command_line(tmp_path, *OPTIONS), "")
    analysis = damaged.analyses[1]
    analysis.results_file(2).unlink()
    shutil.rmtree(analysis.generations_folder)
    weights = analysis.run.checkpoint(2) / "model.safetensors"
    os.truncate(weights, 1000)
    status, stdout, stderr = launch(damaged.arguments)
    (sentence,) = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert status == 2 and re.match(r"error: the study is incomplete: seed 10, step 2: ", sentence)
    assert str(weights) in sentence and "Traceback" not in stderr
    page = (report_folder(damaged.experiment) / "index.html").read_text()
    assert (
        "Missing results" in page and str(weights) in page and f"Report:  {report_folder(damaged.experiment)}" in stdout
    )


def test_the_end_of_the_launcher_saves_the_training(tmp_path, command_line, start, wait_until):
    """No state is due for ten minutes; the job ends after its step."""
    arguments = command_line(
        tmp_path, "train.steps=100000", "train.checkpoints.at=[0]", "seeds=[0]", "train.log_every=1"
    )
    folder = seed_folder(Study(arguments, "").experiment, 0)
    launcher = start("launch", *arguments)
    wait_until(lambda: folder.log.exists() and folder.log.stat().st_size > 0)
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(60) == 130
    wait_until(lambda: saved_steps(folder.state), timeout_s=30)
