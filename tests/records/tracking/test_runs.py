"""W&B modes, the points of log files, and a fake run. No test opens a W&B run."""

import json
from urllib.parse import urlsplit

import pytest
import wandb

from configs.schema import Experiment
from records.tracking.login import resolved_mode
from records.tracking.points import read_points
from records.tracking.runs import TrackedRun


@pytest.fixture
def write_netrc(tmp_path, monkeypatch):
    """Return a function that writes the netrc file, the only source of W&B credentials."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return (tmp_path / "netrc").write_text


def resolve(mode: str) -> str:
    experiment = Experiment(name="x")
    experiment.wandb.mode = mode
    return resolved_mode(experiment)


@pytest.mark.parametrize("mode", ["online", "offline", "disabled"])
def test_explicit_mode_overrides_the_environment(mode, write_netrc, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    assert resolve(mode) == mode


def test_auto_is_offline_without_credentials(write_netrc):
    assert resolve("auto") == "offline"


@pytest.mark.parametrize("name", ["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"])
def test_auto_is_online_with_credentials_in_the_environment(name, write_netrc, monkeypatch):
    monkeypatch.setenv(name, "something")
    assert resolve("auto") == "online"


def test_auto_is_online_with_credentials_for_the_server_in_netrc(write_netrc, monkeypatch):
    for server in ("api.wandb.ai", urlsplit(wandb.Settings().base_url).netloc):
        write_netrc(f"machine {server} login user password something\n")
        assert resolve("auto") == "online"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org/")
    assert resolve("auto") == "offline"
    write_netrc("machine wandb.example.org login user password something\n")
    assert resolve("auto") == "online"


def test_auto_is_offline_if_netrc_is_malformed(write_netrc):
    write_netrc("machine\n\nnonsense {")
    assert resolve("auto") == "offline"


def test_auto_follows_wandb_mode_despite_credentials(write_netrc, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "something")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert resolve("auto") == "disabled"


def test_read_points_preserves_order_and_values(tmp_path):
    points = [{"step": 0, "loss": 1.5}, {"step": 10, "loss": float("inf"), "text": "ε"}]
    (tmp_path / "log").write_text("".join(json.dumps(point) + "\n" for point in points))
    assert read_points(tmp_path / "log") == points


@pytest.mark.parametrize("rest", ['{"step": 20, "lo', '{"step": 20}', ""])
def test_read_points_skips_a_last_line_without_newline(rest, tmp_path):
    """Also if the line is valid JSON: the next append would continue it."""
    (tmp_path / "log").write_text('{"step": 10}\n' + rest)
    assert read_points(tmp_path / "log") == [{"step": 10}]


def test_read_points_of_a_missing_log_is_empty(tmp_path):
    assert read_points(tmp_path / "log") == []


class FakeRun:
    """W&B run that records the logged steps and fails at one step."""

    def __init__(self, fails_at: int = -1):
        self.fails_at, self.steps = fails_at, []

    def log(self, point: dict, step: int) -> None:
        if step == self.fails_at:
            raise ConnectionError("no network")
        self.steps.append(step)


def test_points_already_in_the_run_are_not_sent_again():
    run = FakeRun()
    tracked = TrackedRun(run, last_step=10)
    for step in (0, 10, 20, 20, 30):
        tracked.log({"step": step})
    assert run.steps == [20, 30]


def test_nothing_is_sent_after_a_failure_and_the_work_continues(capsys):
    run = FakeRun(fails_at=20)
    tracked = TrackedRun(run)
    for step in (10, 20, 30):
        tracked.log({"step": step})
    tracked.finish()
    assert run.steps == [10] and tracked.failure == "no network"
    assert capsys.readouterr().err.count("\n") == 1
