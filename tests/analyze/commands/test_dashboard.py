"""python -m analyze dashboard: what it saves at a stand-in for W&B's server, and what it does without one."""

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
def nobody(monkeypatch, tmp_path):
    """Nobody is logged in."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def panels(spec: dict) -> dict[str, list[dict]]:
    return {section["name"]: section["panels"] for section in spec["section"]["panelBankConfig"]["sections"]}


def test_given_again_it_updates_the_same_view(wandb_server, arguments, capsys):
    main(arguments)
    first = json.loads(dashboard_file(load(arguments[0], arguments[1:])).read_text())["address"]
    main(arguments)
    assert len(wandb_server.views) == 1 and capsys.readouterr().out == f"Dashboard: {first}\n" * 2
    wandb_server.views.clear()  # as if it had been deleted
    main(arguments)
    assert len(wandb_server.views) == 1 and first not in capsys.readouterr().out


def test_what_is_saved_has_all_sections_and_groups_the_seeds(wandb_server, arguments):
    main(arguments)
    (view,) = wandb_server.views.values()
    spec = json.loads(view["spec"])
    assert list(panels(spec)) == list(dashboard.SECTIONS) and view["displayName"] == "noisemap: digits"
    lines = [panel["config"] for some in panels(spec).values() for panel in some if "Line Plot" in panel["viewType"]]
    assert {(line["groupBy"], line["groupAgg"], line["groupArea"]) for line in lines} == {("group", "mean", "stddev")}
    assert {line["xAxis"] for line in lines} == {"_step"} and any(line["xLogScale"] for line in lines)
    pictures = [panel["config"] for panel in panels(spec)["Pictures"]]
    assert {one["gallerySettings"]["axis"] for one in pictures} == {"step"}
    (runs,) = spec["section"]["runSets"]
    assert runs["search"] == {"query": "^digits seed ", "isRegex": True} and "superseded" in json.dumps(runs["filters"])


def test_the_definition_can_be_written_without_a_login(nobody, arguments, tmp_path):
    main([*arguments, "--out", str(tmp_path / "view.json")])
    assert list(panels(json.loads((tmp_path / "view.json").read_text()))) == list(dashboard.SECTIONS)
    assert not dashboard_file(load(arguments[0], arguments[1:])).exists()


def test_a_dry_run_lists_the_panels(nobody, arguments, capsys):
    with pytest.raises(SystemExit):
        main([*arguments, "--dry-run"])
    assert "Noise mapping\n  Image → noise: noise_mapping/image_to_noise" in capsys.readouterr().out


def test_without_a_login_it_says_so(nobody, arguments):
    with pytest.raises(UserError, match="needs a W&B login"):
        main(arguments)


def test_without_the_extra_it_names_it(nobody, arguments, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    for name in ("analyze.report.wandb_dashboard", "wandb_workspaces.reports", "wandb_workspaces.reports.v2"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr("analyze.report.wandb_dashboard", raising=False)
    with pytest.raises(UserError, match=r"noisemap\[dashboard\]"):
        main(arguments)
