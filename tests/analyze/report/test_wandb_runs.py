"""What the analysis of a seed is in W&B, as the client sends it to a stand-in for the server."""

import dataclasses
import json

import pytest

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from analyze.report.paper_tables import tables
from analyze.report.table_formats import Value, to_csv
from analyze.report.wandb_runs import publish_analysis, publish_beginning
from records.layout import experiment_folder
from records.tracking.artifacts import checkpoints_artifact
from records.tracking.runs import SUPERSEDED, offline_runs


@pytest.fixture
def analysis(analyzed) -> SeedAnalysis:
    return SeedAnalysis(analyzed("wandb.mode=online", "analyze.published=ddpm_cifar10"), 0)


def identity(analysis: SeedAnalysis) -> str:
    return (analysis.folder / "wandb_analysis_id").read_text()


def shown(server, analysis: SeedAnalysis) -> list[dict]:
    """The points that the server has of the analysis, without pictures and W&B's own."""
    history = server.runs[identity(analysis)].history
    return [
        {key: value for key, value in item.items() if isinstance(value, (int, float)) and key[0] != "_"}
        for item in history
    ]


def as_sent(points: list[dict]) -> list[dict]:
    return [{key: pytest.approx(value) for key, value in point.items()} for point in points]


def change(analysis: SeedAnalysis, step: int) -> None:
    """As if a measure of a step had found another number."""
    file = analysis.results_file(step)
    about = json.loads(file.read_text())
    about["measures"]["cka"]["values"]["biased"] = 0.125
    file.write_text(json.dumps(about))


def test_every_checkpoint_is_a_point_with_pictures_at_its_step(wandb_server, analysis, repository):
    publish_analysis(analysis)
    run = wandb_server.runs[identity(analysis)]
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert [key for key in run.summary if key[0] != "_" and f"`{key}`" not in text] == []
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    for item in run.history:
        for name in ("pictures/samples", "pictures/latents"):
            assert item[name]["_type"] == "image-file" and item[name]["path"] in run.uploaded
    assert run.exit_code == 0 and run.about["groupName"] == f"digits {analysis.folder.name}"


def test_points_appear_as_jobs_finish_in_any_order(wandb_server, analysis):
    """Each once, in one run: those before the first gap at once, and those behind it when it is closed."""
    points, aside = seed_points(analysis), []
    for step in analysis.steps[1], analysis.steps[2]:
        file = analysis.results_file(step)
        aside.append((file, file.read_text()))
        file.unlink()
    publish_beginning(analysis)
    assert shown(wandb_server, analysis) == as_sent(points[:1])
    for file, text in reversed(aside):  # the later one first
        file.write_text(text)
        publish_beginning(analysis)
    assert shown(wandb_server, analysis) == as_sent(points)
    publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(points) and len(wandb_server.runs) == 1


def test_offline_the_points_wait_for_the_whole(analyzed):
    analysis = SeedAnalysis(analyzed("wandb.mode=offline"), 0)
    publish_beginning(analysis)
    assert offline_runs(experiment_folder(analysis.experiment)) == []


def test_the_tables_stand_beside_the_published_values(wandb_server, analysis, monkeypatch):
    monkeypatch.setattr("analyze.report.paper_tables.published_values", lambda *_: {"noise": Value(0.25, 0.125)})
    publish_analysis(analysis)
    run = wandb_server.runs[identity(analysis)]
    expected = tables(dataclasses.replace(analysis.experiment, seeds=[0]))
    assert len(expected) == 3
    for table in expected:
        about = run.summary[f"tables/{table.name}"]
        sent = json.loads(run.uploaded[about["path"]])
        header, row = (line.split(",") for line in to_csv(table).splitlines())
        assert sent["columns"] == ["seed", *header]
        assert ("noise_published" in header) == (table.name == "table1_correlation")
        assert sent["data"] == [[0, *(float(cell) if cell else None for cell in row)]]


def test_training_makes_the_checkpoints_that_the_analysis_uses(wandb_server, analysis):
    """W&B knows them for one by their digest, and none of them is uploaded."""
    publish_analysis(analysis)
    artifact = checkpoints_artifact(analysis.experiment, analysis.run)
    (sent,) = [one for one in wandb_server.artifacts.values() if one.kind == "checkpoints"]
    assert (sent.name, sent.digest) == (artifact.name, artifact.digest)
    assert wandb_server.runs[identity(analysis)].used == [artifact.name]
    files = [analysis.run.checkpoint(step) / "checkpoint.json" for step in analysis.steps]
    assert [entry["ref"] for entry in sent.manifest["contents"].values()] == [file.as_uri() for file in files]
    assert all(file.read_bytes() not in run.uploaded.values() for file in files for run in wandb_server.runs.values())


def test_what_is_published_is_not_sent_again(wandb_server, analysis):
    publish_analysis(analysis)
    asked = len(wandb_server.requests)
    publish_analysis(analysis)
    assert len(wandb_server.requests) == asked


def test_further_checkpoints_go_on_with_the_run(wandb_server, analysis):
    last = analysis.steps[-1]
    aside = analysis.results_file(last).rename(analysis.folder / "aside")
    publish_analysis(analysis)
    assert [point["step"] for point in shown(wandb_server, analysis)] == analysis.steps[:-1]
    aside.rename(analysis.results_file(last))
    publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis)) and len(wandb_server.runs) == 1


def test_numbers_that_have_changed_make_a_new_run_and_mark_the_old_one(wandb_server, analysis):
    publish_analysis(analysis)
    first = identity(analysis)
    change(analysis, analysis.steps[1])
    publish_analysis(analysis)
    assert identity(analysis) != first and shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    assert wandb_server.runs[first].about["tags"] == [SUPERSEDED]


def test_two_ways_of_analysing_are_two_runs_of_two_groups(wandb_server, analysis):
    publish_analysis(analysis)
    options = dataclasses.replace(analysis.options, ddim_steps=2)
    other = dataclasses.replace(analysis, experiment=dataclasses.replace(analysis.experiment, analyze=options))
    other.analyze(other.missing())
    publish_analysis(other)
    groups = {run.about["groupName"] for run in wandb_server.runs.values()}
    assert groups == {f"digits {analysis.folder.name}", f"digits {other.folder.name}"}
    assert shown(wandb_server, other) == as_sent(seed_points(other))


def test_offline_there_is_one_run_of_the_numbers_as_they_are(analyzed):
    analysis = SeedAnalysis(analyzed("wandb.mode=offline"), 0)
    publish_analysis(analysis)
    change(analysis, analysis.steps[1])
    publish_analysis(analysis)
    assert len(offline_runs(experiment_folder(analysis.experiment))) == 1


def test_what_was_published_offline_or_not_at_all_is_sent_once_it_can_be(wandb_server, analysis):
    for mode in ("disabled", "offline", "online"):
        analysis.experiment.wandb.mode = mode
        publish_analysis(analysis)
    assert shown(wandb_server, analysis) == as_sent(seed_points(analysis))
    assert not offline_runs(experiment_folder(analysis.experiment))
