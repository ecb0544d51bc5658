"""W&B modes, the points of log files, and a fake run. No test opens a W&B run."""

import json
from urllib.parse import urlsplit

import pytest
import wandb

from configs.errors import UserError
from configs.schema import Experiment
from records.tracking.login import logged_in, resolved_mode
from records.tracking.points import last_step, read_points
from records.tracking.runs import RunSpec, TrackedRun


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


@pytest.mark.parametrize(("name", "mode"), [("dryrun", "offline"), ("run", "online")])
def test_former_names_of_modes(name, mode, write_netrc, monkeypatch):
    if mode == "offline":
        monkeypatch.setenv("WANDB_API_KEY", "something")
    monkeypatch.setenv("WANDB_MODE", name)
    assert resolve("auto") == mode


def test_unknown_mode_is_a_user_error(write_netrc, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "off")
    with pytest.raises(UserError, match="WANDB_MODE=off is unknown; set it to online, offline or disabled, or unset"):
        resolve("auto")


def test_invalid_settings_of_wandb_are_no_login(write_netrc, monkeypatch):
    def reject(_) -> None:
        raise ValueError("1 validation error for Settings")

    monkeypatch.setattr(wandb, "setup", reject)
    assert not logged_in() and resolve("auto") == "offline"


def test_read_points_preserves_order_and_values(tmp_path):
    points = [{"step": 0, "loss": 1.5}, {"step": 10, "loss": float("inf"), "text": "ε"}]
    (tmp_path / "log").write_text("".join(json.dumps(point) + "\n" for point in points))
    assert read_points(tmp_path / "log") == points


@pytest.mark.parametrize("rest", ['{"step": 20, "lo', '{"step": 20}', ""])
def test_read_points_skips_a_last_line_without_newline(rest, tmp_path):
    """Also if the line is valid JSON: the next append would continue it."""
    (tmp_path / "log").write_text('{"step": 10}\n' + rest)
    assert read_points(tmp_path / "log") == [{"step": 10}]


@pytest.mark.parametrize(
    "line", ['{"step": 1, "lo{"step": 20}', "null", "{}", '{"step": "x"}', "[" * 100_000, "\udcff"]
)
def test_damaged_line_inside_a_log_is_named(line, tmp_path):
    log = tmp_path / "log"
    log.write_bytes(f'{{"step": 10}}\n{line}\n'.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match="log, last line is damaged; remove this line"):
        last_step(log)
    with open(log, "a") as file:
        file.write('{"step": 30}\n')
    with pytest.raises(UserError, match="log, line 2 is damaged; remove this line and rerun the command"):
        read_points(log)
    assert last_step(log) == 30


@pytest.mark.parametrize("content", [b"\xff", b"../../other", b"*", b"a b", b""])
def test_damaged_id_file_is_ignored(content, tmp_path):
    """An id is part of the name of folders that are removed."""
    experiment = Experiment(name="x", runs=str(tmp_path))
    spec = RunSpec(experiment, 0, "train", tmp_path / "x" / "seed_0", "x")
    spec.id_file.parent.mkdir(parents=True)
    (tmp_path / "x" / "wandb" / "offline-run-1-other").mkdir(parents=True)
    spec.id_file.write_bytes(content)
    assert spec.server_id() is None and spec.offline_runs() == []
    spec.id_file.write_text("other")
    assert spec.server_id() == "other" and [path.name for path in spec.offline_runs()] == ["offline-run-1-other"]


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


def test_a_point_is_sent_without_the_pictures_that_cannot_be_made(capsys):
    def media() -> dict:
        raise FileNotFoundError("no checkpoint")

    run = FakeRun()
    tracked = TrackedRun(run)
    for step in (10, 20):
        tracked.log({"step": step}, media)
    assert run.steps == [10, 20] and not tracked.failure
    assert "W&B gets no pictures of step 10 (no checkpoint)" in capsys.readouterr().err


def test_nothing_is_sent_after_a_failure_and_the_work_continues(capsys):
    run = FakeRun(fails_at=20)
    tracked = TrackedRun(run)
    for step in (10, 20, 30):
        tracked.log({"step": step})
    tracked.finish()
    assert run.steps == [10] and tracked.failure == "no network"
    assert capsys.readouterr().err.count("\n") == 1
