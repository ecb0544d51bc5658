"""What training shows in W&B, as the client sends it to a stand-in for the server, and what it makes again offline."""

import json
import subprocess
import sys

import pytest

from records import checkpoint, tracking
from records.layout import experiment_folder, seed_folder
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.points import read_points
from records.tracking.runs import offline_runs
from train.log import publish_training
from train.run_folder import is_trained
from train.trainer import train


def merged(folder) -> list[dict]:
    """The points of a run folder: what train.jsonl and speed.jsonl have of each step."""
    return [one | other for one, other in zip(read_points(folder.speed), read_points(folder.log), strict=True)]


def test_a_training_is_shown_with_its_samples_and_the_checkpoints_it_made(wandb_server, tiny, repository):
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


def test_a_change_of_any_weight_is_another_artifact(with_checkpoints):
    """Although only a description of the weights is referred to: it holds their digests."""
    experiment = with_checkpoints()
    folder = seed_folder(experiment, 0)
    before = checkpoints_artifact(experiment, folder).digest
    assert checkpoints_artifact(experiment, folder).digest == before
    path = folder.checkpoint(5)
    opened = checkpoint.read(path)
    weights = {name: opened.weights(name) for name in opened.digests}
    next(iter(weights["model"].values())).view(-1)[0] += 1
    path.rename(folder.root / "aside")
    checkpoint.write(path, 5, 0, opened.model, opened.diffusion, weights)
    assert checkpoints_artifact(experiment, folder).digest != before


@pytest.fixture
def shown():
    """A function: the points of an experiment's only offline run, as W&B's own viewer reads them."""

    def points(experiment) -> list[dict]:
        (run,) = offline_runs(experiment_folder(experiment))
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(run)]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
        records = [json.loads(line) for line in said.splitlines()]
        return [record["history"]["item"] for record in records if record["type"] == "history"]

    return points


def test_an_offline_run_that_is_made_again_has_its_samples(tiny, shown):
    experiment = tiny("wandb.mode=offline", "train.sample_every=4")
    train(experiment)
    train(experiment)  # there is nothing left to train, and the run is made again from what is kept
    assert [any(key.startswith("samples") for key in item) for item in shown(experiment)] == [False, True, False, True]


def test_what_wandb_refused_is_sent_later(tiny, shown, monkeypatch, capsys):
    """Once, and with all that the run has; a run that W&B has is left as it is."""
    experiment = tiny("wandb.mode=offline", "train.sample_every=4")

    def refuse(*_) -> None:
        raise ConnectionError("no")

    with monkeypatch.context() as patch:
        patch.setattr(tracking, "_wandb_run", refuse)
        train(experiment)
    folder = seed_folder(experiment, 0)
    assert "W&B fails offline too (no)" in capsys.readouterr().err
    assert is_trained(folder, 8) and not offline_runs(experiment_folder(experiment))
    publish_training(experiment, 0)
    items, (run,) = shown(experiment), offline_runs(experiment_folder(experiment))
    assert [item | point for item, point in zip(items, merged(folder), strict=True)] == items
    assert [any(key.startswith("samples") for key in item) for item in items] == [False, True, False, True]
    publish_training(experiment, 0)
    assert offline_runs(experiment_folder(experiment)) == [run]


def test_a_training_that_was_logged_offline_is_sent_when_there_is_a_server(wandb_server, tiny):
    experiment = tiny("wandb.mode=offline")
    train(experiment)
    experiment.wandb.mode = "online"
    publish_training(experiment, 0)
    (run,) = wandb_server.runs.values()
    assert [item["step"] for item in run.history] == [2, 4, 6, 8] and len(wandb_server.artifacts) == 1
    assert not offline_runs(experiment_folder(experiment))
    asked = len(wandb_server.requests)
    publish_training(experiment, 0)
    assert len(wandb_server.requests) == asked
