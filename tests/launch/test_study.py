"""A whole study through its command: to the end, again, killed on the way, and with a checkpoint that is damaged."""

import json
import os
import random
import re
import shutil
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
    """A study that its command has gone through."""

    arguments: list[str]
    said: str

    @property
    def experiment(self) -> Experiment:
        config, *options = self.arguments
        return load(config, options)

    @property
    def analyses(self) -> list[SeedAnalysis]:
        return [SeedAnalysis(self.experiment, seed) for seed in self.experiment.seeds]


@pytest.fixture(scope="module")
def launched(start):
    """A function: what `python -m launch` ends with and says, on standard output and standard error."""

    def launch(arguments: list[str]) -> tuple[int, str, str]:
        process = start("launch", *arguments)
        said, complained = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, said, complained

    return launch


@pytest.fixture(scope="module")
def study(tmp_path_factory, command_line, launched) -> Study:
    """A study of two seeds that nothing disturbed."""
    arguments = command_line(tmp_path_factory.mktemp("study"), *OPTIONS)
    status, said, complained = launched(arguments)
    assert status == 0, complained
    return Study(arguments, said)


@pytest.fixture(scope="module")
def killed(tmp_path_factory, command_line, launched, start, wait_until) -> Study:
    """The study's second seed, whose launcher was killed once while it trained and once while it analysed."""
    arguments = command_line(tmp_path_factory.mktemp("killed"), *OPTIONS, "seeds=[10]", "cluster.checkpoints_per_job=2")
    begun = Study(arguments, "")
    (analysis,) = begun.analyses
    state, results = seed_folder(begun.experiment, 10).state, analysis.folder
    step, count = random.randint(1, 39), random.randint(0, 3)
    print(f"killed after step {step} and after {count} results")
    trained = [lambda: saved_steps(state)[-1:] >= [step], lambda: len(list(results.glob("[0-9]*.json"))) >= count]
    for moment in trained:
        launcher = start("launch", *arguments)
        wait_until(lambda launcher=launcher, moment=moment: moment() or launcher.poll() is not None)
        time.sleep(random.random() / 4)
        assert launcher.poll() in (None, 0), launcher.communicate()
        launcher.kill()
        launcher.wait()
    status, said, complained = launched(arguments)
    assert status == 0, complained
    return Study(arguments, said)


def results(study: Study, seed: int) -> dict[int, dict]:
    analysis = SeedAnalysis(study.experiment, seed)
    return {step: analysis.results(step) for step in analysis.steps}


def made(study: Study) -> dict[Path, tuple]:
    """What must not be made twice: when checkpoints, generations, measures and W&B runs were written."""
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
    """The records of every offline run, by the run's display name."""
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


def test_the_end_of_the_output_is_findings_report_and_wandb(study):
    sentences = findings(study.experiment, curves(study.analyses))
    report = report_folder(study.experiment) / "index.html"
    lines = study.said.splitlines()
    place = lines.index(sentences[0])
    assert lines[place : place + 3] == sentences
    assert lines[place + 3].startswith("Not measured: the weights /absent of DINO")
    place += 1
    assert lines[place + 4] == f"Report:  {report}"
    assert lines[place + 5 : place + 7] == [
        f"Figures: {report.parent / 'figures'} (22 files)",
        f"Tables:  {report.parent / 'tables'} (9 files)",
    ]
    assert lines[place + 7].startswith("W&B:     4 offline runs") and len(lines) == place + 9


def test_everything_is_there(study):
    assert plan(study.experiment) == []
    for analysis in study.analyses:
        assert analysis.steps == saved_steps(analysis.run.checkpoints) == [0, 2, 25, 40]
        assert analysis.missing() == [] and analysis.failures() == {}
    page = (report_folder(study.experiment) / "index.html").read_text()
    assert "What is missing" not in page and page.count("<img") > 10


def test_training_shows_in_the_measures(study):
    """That the tests of equal numbers below compare something."""
    for seed in (0, 10):
        by_step = results(study, seed)
        values = [by_step[step]["distances"]["values"]["noise_latent"] for step in (0, 2, 25, 40)]
        assert len(set(values)) == 4
        assert by_step[0]["cka"]["values"]["biased"] < by_step[40]["cka"]["values"]["biased"] == pytest.approx(1)
    assert results(study, 0) != results(study, 10)


def test_the_same_command_again_finds_all_done(study, launched):
    before = made(study)
    assert len(before) > 30
    status, said, complained = launched(study.arguments)
    assert (status, said) == (0, study.said), complained
    assert made(study) == before


def test_killed_and_started_again_it_finds_the_same(study, killed):
    """To the last bit, in weights, logs and measures."""
    assert results(killed, 10) == results(study, 10)
    one, other = (seed_folder(which.experiment, 10) for which in (study, killed))
    assert one.log.read_bytes() == other.log.read_bytes()
    for file in one.checkpoints.glob("*/*.safetensors"):
        assert (other.checkpoints / file.relative_to(one.checkpoints)).read_bytes() == file.read_bytes()
    assert saved_steps(other.checkpoints) == saved_steps(one.checkpoints)


@pytest.mark.parametrize("name", ["study", "killed"])
def test_each_seed_is_one_wandb_run_of_training_and_one_of_analysis(name, request):
    """However often the study was killed: with every point of the log and of the analysis, once, at its step."""
    which = request.getfixturevalue(name)
    runs, experiment = wandb_runs(which), which.experiment
    assert runs.keys() == {f"digits seed {seed} {job}" for seed in experiment.seeds for job in ("train", "analysis")}
    for seed, analysis in zip(experiment.seeds, which.analyses, strict=True):
        assert_shows(runs[f"digits seed {seed} train"], read_points(analysis.run.log))
        assert_shows(runs[f"digits seed {seed} analysis"], seed_points(analysis))
        for item in history(runs[f"digits seed {seed} analysis"]):
            assert item["pictures/samples._type"] == item["pictures/latents._type"] == "image-file"


def assert_shows(records: list[dict], points: list[dict]) -> None:
    """That a run has all points, each once and in order, and that the x axis of its curves is the training step."""
    items = history(records)
    assert [item["step"] for item in items] == [item["_step"] for item in items] == [point["step"] for point in points]
    for item, point in zip(items, points, strict=True):
        assert {key: item[key] for key in point} == pytest.approx(point, rel=1e-12)
    axes = [record["metric"] for record in records if record["type"] == "metric"]
    assert [axis["step_metric"] for axis in axes if axis.get("glob_name") == "*"] == ["step"]
    assert [record["type"] for record in records].count("exit") == 1


def test_a_wandb_run_that_failed_is_made_by_the_next_launch(study, launched, command_line, tmp_path):
    """Of training too, which is not done again for it."""
    shutil.copytree(Path(study.experiment.runs).parent, tmp_path, dirs_exist_ok=True)
    lacking = Study(command_line(tmp_path, *OPTIONS), "")
    trained = seed_folder(lacking.experiment, 10)
    (trained.root / "wandb_published").unlink()
    shutil.rmtree(experiment_folder(lacking.experiment) / "wandb")
    status, _, complained = launched(lacking.arguments)
    assert status == 0, complained
    runs = wandb_runs(lacking)
    assert runs.keys() == {"digits seed 10 train"}
    assert_shows(runs["digits seed 10 train"], read_points(trained.log))


def test_a_damaged_checkpoint_is_told_and_the_report_is_made(study, launched, command_line, tmp_path):
    """After its measures were lost, so that it is needed again."""
    folder = Path(study.experiment.runs).parent
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    damaged = Study(command_line(tmp_path, *OPTIONS), "")
    analysis = damaged.analyses[1]
    analysis.results_file(2).unlink()
    shutil.rmtree(analysis.folder / "generations")
    weights = analysis.run.checkpoint(2) / "model.safetensors"
    os.truncate(weights, 1000)
    status, said, complained = launched(damaged.arguments)
    (sentence,) = [line for line in complained.splitlines() if line.startswith("error: ")]
    assert status == 2 and re.match(r"error: the study is not complete: seed 10, step 2: ", sentence)
    assert str(weights) in sentence and "Traceback" not in complained
    page = (report_folder(damaged.experiment) / "index.html").read_text()
    assert (
        "What is missing" in page and str(weights) in page and f"Report:  {report_folder(damaged.experiment)}" in said
    )
