"""Where W&B runs go, and the log that they can be made again from. No W&B run is opened here."""

import json
from urllib.parse import urlsplit

import pytest
import wandb

from configs.schema import Experiment
from records.tracking import runs as tracking
from records.tracking.points import read_points
from records.tracking.runs import resolved_mode


@pytest.fixture
def login(tmp_path, monkeypatch):
    """A function: writes a netrc file; the environment says nothing of W&B and no other netrc is seen."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return (tmp_path / "netrc").write_text


def mode(asked: str) -> str:
    experiment = Experiment(name="x")
    experiment.wandb.mode = asked
    return resolved_mode(experiment)


@pytest.mark.parametrize("asked", ["online", "offline", "disabled"])
def test_a_mode_that_is_given_is_taken(asked, login, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert mode(asked) == asked


def test_auto_is_offline_for_those_who_are_not_logged_in(login):
    assert mode("auto") == "offline"


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_auto_is_online_where_the_environment_logs_in(name, login, monkeypatch):
    monkeypatch.setenv(name, "something")
    assert mode("auto") == "online"


def test_auto_is_online_where_netrc_knows_the_server(login, monkeypatch):
    for server in ("api.wandb.ai", urlsplit(wandb.Settings().base_url).netloc):
        login(f"machine {server} login user password something\n")
        assert mode("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org/")
    assert mode("auto") == "offline"
    login("machine wandb.example.org login user password something\n")
    assert mode("auto") == "online"


def test_auto_is_offline_where_netrc_makes_no_sense(login):
    login("machine\n\nnonsense {")
    assert mode("auto") == "offline"


def test_auto_is_what_the_environment_says_whoever_is_logged_in(login, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "something")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert mode("auto") == "disabled"


def test_points_come_back_in_order(tmp_path):
    points = [{"step": 0, "loss": 1.5}, {"step": 10, "loss": float("inf"), "text": "ε"}]
    (tmp_path / "log").write_text("".join(json.dumps(point) + "\n" for point in points))
    assert read_points(tmp_path / "log") == points


@pytest.mark.parametrize("rest", ['{"step": 20, "lo', '{"step": 20}', ""])
def test_a_last_line_without_its_end_is_left_out(rest, tmp_path):
    """Even one that can be read: what is appended next would run into it."""
    (tmp_path / "log").write_text('{"step": 10}\n' + rest)
    assert read_points(tmp_path / "log") == [{"step": 10}]


def test_a_log_that_is_not_there_has_no_points(tmp_path):
    assert read_points(tmp_path / "log") == []


class FakeRun:
    """Notes what it is given; fails at one step."""

    def __init__(self, fails_at: int = -1):
        self.fails_at, self.steps = fails_at, []

    def log(self, point: dict, step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError("no network")
        self.steps.append(step)


def test_points_that_the_run_has_already_are_not_sent_again():
    run = FakeRun()
    tracked = tracking.TrackedRun(run, last_step=10)
    for step in (0, 10, 20, 20, 30):
        tracked.log({"step": step})
    assert run.steps == [20, 30]


def test_nothing_is_sent_after_a_failure_and_the_work_goes_on(capsys):
    run = FakeRun(fails_at=20)
    tracked = tracking.TrackedRun(run)
    for step in (10, 20, 30):
        tracked.log({"step": step})
    tracked.finish()
    assert run.steps == [10] and tracked.failure == "no network"
    assert capsys.readouterr().err.count("\n") == 1
