"""W&B runs of training: as sent to a mock server, and as rewritten offline."""

import json
import subprocess
import sys

import pytest

from records import checkpoint
from records.layout import experiment_folder, seed_folder
from records.tracking import runs
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.points import read_points
from records.tracking.runs import offline_runs
from train.log import publish_training
from train.trainer import train


def merged(folder) -> list[dict]:
    """Return the points of a run folder, each merged from train.jsonl and speed.jsonl."""
    return [speed | point for speed, point in zip(read_points(folder.speed), read_points(folder.log), strict=True)]


def test_online_run_has_all_points_samples_and_checkpoints(wandb_server, tiny, repository):
    experiment = tiny("wandb.mode=online", "train.sample_every=4")
    train(experiment)
    folder = seed_folder(experiment, 0)
    (run,) = wandb_server.runs.values()
    expected = [{key: pytest.approx(value) for key, value in point.items()} for point in merged(folder)]
    assert [{key: item[key] for key in point} for item, point in zip(run.history, expected, strict=True)] == expected
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [key for item in run.history for key in item if key[0] != "_" and f"`{key}`" not in text] == []
    assert [item["step"] for item in run.history if "samples" in item] == [4, 8]
    assert run.history[-1]["samples"]["path"] in run.uploaded and run.exit_code == 0
    (artifact,) = wandb_server.artifacts.values()
    assert run.logged == [artifact.name] and artifact.committed
    assert artifact.digest == checkpoints_artifact(experiment, folder).digest


def test_artifact_changes_with_any_weight(with_checkpoints):
    """The artifact refers only to checkpoint.json, which contains the digests of the weights."""
    experiment = with_checkpoints()
    folder = seed_folder(experiment, 0)
    before = checkpoints_artifact(experiment, folder).digest
    assert checkpoints_artifact(experiment, folder).digest == before
    path = folder.checkpoint(5)
    opened = checkpoint.read(path)
    weights = {name: opened.weights(name) for name in opened.digests}
    next(iter(weights["model"].values())).view(-1)[0] += 1
    path.rename(folder.root / "moved")
    checkpoint.write(path, 5, 0, opened.model, opened.diffusion, weights)
    assert checkpoints_artifact(experiment, folder).digest != before


def test_run_ends_if_a_signal_arrives_while_earlier_points_are_logged(wandb_server, tiny, monkeypatch):
    train(tiny())

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.TrackedRun, "log", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(tiny("wandb.mode=online", "train.steps=12"))
    (run,) = wandb_server.runs.values()
    assert run.exit_code == 1


@pytest.fixture
def offline_points():
    """A function that reads the points of an experiment's only offline run with W&B's own viewer."""

    def points(experiment) -> list[dict]:
        (run,) = offline_runs(experiment_folder(experiment))
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
        output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        records = [json.loads(line) for line in output.splitlines()]
        return [record["history"]["item"] for record in records if record["type"] == "history"]

    return points


def test_rewritten_offline_run_has_its_samples(tiny, offline_points):
    experiment = tiny("wandb.mode=offline", "train.sample_every=4")
    train(experiment)
    train(experiment)  # nothing is left to train; the run is rewritten from its files
    has_samples = [any(key.startswith("samples") for key in item) for item in offline_points(experiment)]
    assert has_samples == [False, True, False, True]


def test_run_that_wandb_rejected_is_published_later(tiny, offline_points, monkeypatch, capsys):
    """It is published once, with all points; a complete run is not published again."""
    experiment = tiny("wandb.mode=offline", "train.sample_every=4")

    def reject(*_) -> None:
        raise ConnectionError("no")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_init", reject)
        train(experiment)
    folder = seed_folder(experiment, 0)
    assert "W&B failed (no)" in capsys.readouterr().err
    assert folder.is_trained(8) and not offline_runs(experiment_folder(experiment))
    publish_training(experiment, 0)
    items, (run,) = offline_points(experiment), offline_runs(experiment_folder(experiment))
    assert [item | point for item, point in zip(items, merged(folder), strict=True)] == items
    assert [any(key.startswith("samples") for key in item) for item in items] == [False, True, False, True]
    publish_training(experiment, 0)
    assert offline_runs(experiment_folder(experiment)) == [run]


def test_offline_training_is_published_once_online(wandb_server, tiny):
    experiment = tiny("wandb.mode=offline")
    train(experiment)
    experiment.wandb.mode = "online"
    publish_training(experiment, 0)
    (run,) = wandb_server.runs.values()
    assert [item["step"] for item in run.history] == [2, 4, 6, 8] and len(wandb_server.artifacts) == 1
    assert not offline_runs(experiment_folder(experiment))
    requests = len(wandb_server.requests)
    publish_training(experiment, 0)
    assert len(wandb_server.requests) == requests
