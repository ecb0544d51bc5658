"""python -m analyze dashboard against a fake W&B server, and without a login."""

import json
import sys

import pytest

from analyze.commands.dashboard import main
from analyze.report import wandb_dashboard as dashboard
from configs.errors import UserError
from configs.load import load
from records.layout import dashboard_file


@pytest.fixture
def arguments(tmp_path, command_line) -> list[str]:
    return command_line(tmp_path)


@pytest.fixture
def logged_out(monkeypatch, tmp_path):
    """Remove all W&B credentials."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def panels(spec: dict) -> dict[str, list[dict]]:
    return {section["name"]: section["panels"] for section in spec["section"]["panelBankConfig"]["sections"]}


def test_second_call_updates_the_same_view(wandb_server, arguments, capsys):
    main(arguments)
    first = json.loads(dashboard_file(load(arguments[0], arguments[1:])).read_text())["address"]
    main(arguments)
    assert len(wandb_server.views) == 1 and capsys.readouterr().out == f"Dashboard: {first}\n" * 2
    wandb_server.views.clear()  # the view is deleted
    main(arguments)
    assert len(wandb_server.views) == 1 and first not in capsys.readouterr().out


def test_saved_view_has_all_sections_and_groups_the_seeds(wandb_server, arguments):
    main(arguments)
    (view,) = wandb_server.views.values()
    spec = json.loads(view["spec"])
    assert list(panels(spec)) == list(dashboard.SECTIONS) and view["displayName"] == "noisemap: digits"
    all_panels = [panel for section in panels(spec).values() for panel in section]
    lines = [panel["config"] for panel in all_panels if "Line Plot" in panel["viewType"]]
    assert {(line["groupBy"], line["groupAgg"], line["groupArea"]) for line in lines} == {("group", "mean", "stddev")}
    assert {line["xAxis"] for line in lines} == {"_step"} and any(line["xLogScale"] for line in lines)
    pictures = [panel["config"] for panel in panels(spec)["Pictures"]]
    assert {picture["gallerySettings"]["axis"] for picture in pictures} == {"step"}
    (runs,) = spec["section"]["runSets"]
    assert runs["search"] == {"query": "^digits seed ", "isRegex": True} and "superseded" in json.dumps(runs["filters"])


def test_definition_can_be_written_without_a_login(logged_out, arguments, tmp_path):
    main([*arguments, "--out", str(tmp_path / "view.json")])
    assert list(panels(json.loads((tmp_path / "view.json").read_text()))) == list(dashboard.SECTIONS)
    assert not dashboard_file(load(arguments[0], arguments[1:])).exists()


def test_dry_run_lists_the_panels(logged_out, arguments, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--dry-run"])
    assert "Noise mapping\n  Image → noise: noise_mapping/image_to_noise" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", "{}", "\udcff"])
def test_damaged_file_of_the_address_is_a_user_error(content, wandb_server, arguments):
    file = dashboard_file(load(arguments[0], arguments[1:]))
    file.parent.mkdir(parents=True)
    file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"dashboard.json is damaged; remove it to create another dashboard"):
        main(arguments)


def test_missing_login_is_reported(logged_out, arguments):
    with pytest.raises(UserError, match="needs a W&B login"):
        main(arguments)


def test_missing_extra_is_named(logged_out, arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    for name in ("analyze.report.wandb_dashboard", "wandb_workspaces.reports", "wandb_workspaces.reports.v2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("analyze.report.wandb_dashboard", raising=False)
    with pytest.raises(UserError, match=r"\.\[dashboard\]"):
        main(arguments)
