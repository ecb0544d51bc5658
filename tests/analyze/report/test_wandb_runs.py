"""The W&B run of a seed's analysis, as the client sends it to a fake server."""

import dataclasses
import json

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from analyze.report.paper_tables import tables
from analyze.report.table_formats import Value, to_csv
from analyze.report.wandb_runs import publish_analysis, publish_beginning
from records.layout import experiment_folder
from records.sealed import read_sealed, write_sealed
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.runs import SUPERSEDED, offline_runs


@pytest.fixture
def analysis(analyzed) -> SeedAnalysis:
    return SeedAnalysis(analyzed("wandb.mode=online", "analyze.published=ddpm_cifar10"), 0)


def identity(analysis: SeedAnalysis) -> str:
    return (analysis.folder / "wandb_analysis_id").read_text()


def shown(server, analysis: SeedAnalysis) -> list[dict]:
    """Return the analysis's points on the server, without pictures and W&B's internal keys."""
    history = server.runs[identity(analysis)].history
    return [
        {key: value for key, value in item.items() if isinstance(value, (int, float)) and key[0] != "_"}
        for item in history
    ]


def as_sent(points: list[dict]) -> list[dict]:
    return [{key: pytest.approx(value) for key, value in point.items()} for point in points]


def change(analysis: SeedAnalysis, step: int) -> None:
    """Change a stored number of a step."""
    content = read_sealed(analysis.results_file(step))
    content["measures"]["cka"]["values"]["biased"] = 0.125
    write_sealed(analysis.results_file(step), content)


def test_every_checkpoint_is_a_point_with_pictures(wandb_server, analysis, repository):
    publish_analysis(analysis)
    run = wandb_server.runs[identity(analysis)]
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [key for key in run.summary if key[0] != "_" and f"`{key}`" not in text] == []
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    for item in run.history:
        for name in ("pictures/samples", "pictures/latents"):
            assert item[name]["_type"] == "image-file" and item[name]["path"] in run.uploaded
    assert run.exit_code == 0 and run.about["groupName"] == f"digits {analysis.folder.name}"


def test_points_before_the_first_gap_are_published(wandb_server, analysis):
    """Jobs finish in any order; points after the gap follow in the same run when it is closed."""
    points, removed = seed_points(analysis), []
    for step in analysis.steps[1], analysis.steps[2]:
        file = analysis.results_file(step)
        removed.append((file, file.read_text()))
        file.unlink()
    publish_beginning(analysis)
    assert shown(wandb_server, analysis) == as_sent(points[:1])
    for file, text in reversed(removed):  # the later step first
        file.write_text(text)
        publish_beginning(analysis)
    assert shown(wandb_server, analysis) == as_sent(points)
    publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(points) and len(wandb_server.runs) == 1


def test_offline_points_are_published_only_when_complete(analyzed):
    analysis = SeedAnalysis(analyzed("wandb.mode=offline"), 0)
    publish_beginning(analysis)
    assert offline_runs(experiment_folder(analysis.experiment)) == []


def test_tables_contain_the_published_values(wandb_server, analysis, monkeypatch):
    monkeypatch.setattr("analyze.report.paper_tables.published_values", lambda *_: {"noise": Value(0.25, 0.125)})
    publish_analysis(analysis)
    run = wandb_server.runs[identity(analysis)]
    expected = tables(dataclasses.replace(analysis.experiment, seeds=[0]))
    assert len(expected) == 3
    for table in expected:
        summary = run.summary[f"tables/{table.name}"]
        sent = json.loads(run.uploaded[summary["path"]])
        header, row = (line.split(",") for line in to_csv(table).splitlines())
        assert sent["columns"] == ["seed", *header]
        assert ("noise_published" in header) == (table.name == "table1_correlation")
        assert sent["data"] == [[0, *(float(cell) if cell else None for cell in row)]]


def test_analysis_uses_the_checkpoints_artifact_of_training(wandb_server, analysis):
    """W&B identifies them by their digest, and no checkpoint is uploaded."""
    publish_analysis(analysis)
    expected = checkpoints_artifact(analysis.experiment, analysis.run)
    (sent,) = [artifact for artifact in wandb_server.artifacts.values() if artifact.kind == "checkpoints"]
    assert (sent.name, sent.digest) == (expected.name, expected.digest)
    assert wandb_server.runs[identity(analysis)].used == [expected.name]
    files = [analysis.run.checkpoint(step) / "checkpoint.json" for step in analysis.steps]
    assert [entry["ref"] for entry in sent.manifest["contents"].values()] == [file.as_uri() for file in files]
    assert all(file.read_bytes() not in run.uploaded.values() for file in files for run in wandb_server.runs.values())


def test_published_points_are_not_sent_again(wandb_server, analysis):
    publish_analysis(analysis)
    requests = len(wandb_server.requests)
    publish_analysis(analysis)
    assert len(wandb_server.requests) == requests


def test_further_checkpoints_continue_the_run(wandb_server, analysis):
    last = analysis.steps[-1]
    removed = analysis.results_file(last).rename(analysis.folder / "removed")
    publish_analysis(analysis)
    assert [point["step"] for point in shown(wandb_server, analysis)] == analysis.steps[:-1]
    removed.rename(analysis.results_file(last))
    publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis)) and len(wandb_server.runs) == 1


def test_changed_numbers_supersede_the_run(wandb_server, analysis):
    publish_analysis(analysis)
    first = identity(analysis)
    change(analysis, analysis.steps[1])
    publish_analysis(analysis)
    assert identity(analysis) != first and shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    assert wandb_server.runs[first].about["tags"] == [SUPERSEDED]


def test_analyses_with_different_options_are_separate_groups(wandb_server, analysis):
    publish_analysis(analysis)
    options = dataclasses.replace(analysis.options, ddim_steps=2)
    other = dataclasses.replace(analysis, experiment=dataclasses.replace(analysis.experiment, analyze=options))
    other.analyze(other.missing())
    publish_analysis(other)
    groups = {run.about["groupName"] for run in wandb_server.runs.values()}
    assert groups == {f"digits {analysis.folder.name}", f"digits {other.folder.name}"}
    assert shown(wandb_server, other) == as_sent(seed_points(other))


def test_offline_run_is_replaced_by_the_current_numbers(analyzed):
    analysis = SeedAnalysis(analyzed("wandb.mode=offline"), 0)
    publish_analysis(analysis)
    change(analysis, analysis.steps[1])
    publish_analysis(analysis)
    assert len(offline_runs(experiment_folder(analysis.experiment))) == 1


def test_points_published_offline_or_not_at_all_are_sent_later(wandb_server, analysis):
    for mode in ("disabled", "offline", "online"):
        analysis.experiment.wandb.mode = mode
        publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    assert not offline_runs(experiment_folder(analysis.experiment))
