"""W&B runs as its client sends them to a server, a stand-in that notes all it is sent, and whatever goes wrong."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from wandb_server import KEY

from records.layout import experiment_folder, seed_folder
from records.tracking import runs as tracking
from records.tracking.runs import RunSpec, offline_runs, open_run, supersede

POINTS = [{"step": step, "loss": 1 / (1 + step)} for step in (0, 5, 10, 15)]


@pytest.fixture
def of(tiny) -> RunSpec:
    experiment = tiny("wandb.mode=online")
    return RunSpec(experiment, 0, "train", seed_folder(experiment, 0).root, "digits")


def logged(of: RunSpec, points: list[dict]) -> tracking.TrackedRun:
    """A run that is opened, shown the points and finished, as one process does it."""
    tracked = open_run(of)
    for point in points:
        tracked.log(point)
    tracked.finish()
    return tracked


def shown(server, identity: str) -> list[dict]:
    """The points that the server has of a run."""
    return [{key: item[key] for key in ("step", "loss") if key in item} for item in server.runs[identity].history]


def offline(of: RunSpec) -> list:
    return offline_runs(experiment_folder(of.experiment), of.identity())


def sync(folder) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def test_a_run_has_every_point_once_at_its_step_and_says_where_it_comes_from(wandb_server, of, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_NODELIST", "node[1-2]")
    assert not logged(of, POINTS).failure
    run = wandb_server.runs[of.identity()]
    assert shown(wandb_server, of.identity()) == POINTS
    assert [item["_step"] for item in run.history] == [point["step"] for point in POINTS]
    assert {key: run.summary[key] for key in POINTS[-1]} == POINTS[-1] and run.exit_code == 0
    assert run.config["model"]["image_size"] == 8 and run.config["seed"] == 0
    assert run.config["versions"]["noisemap"] and run.config["environment"]["host"]
    assert run.config["environment"]["slurm"] == {"job_id": "1234", "nodelist": "node[1-2]"}
    assert (run.about["groupName"], run.about["jobType"]) == ("digits", "train")
    assert run.about["displayName"] == "digits seed 0 train"


@pytest.mark.parametrize("count", [1, 2])
def test_a_resumed_run_goes_on_and_doubles_nothing(count, wandb_server, of):
    """Also after step 0 alone, which a client that asks what is not zero would take for none."""
    logged(of, POINTS[:count])
    logged(of, POINTS)
    assert shown(wandb_server, of.identity()) == POINTS and len(wandb_server.runs) == 1


def test_a_server_that_goes_away_and_comes_back_gets_the_rest_at_the_next_start(
    wandb_server, of, monkeypatch, capsys, wait_until
):
    monkeypatch.setattr(tracking, "LONGEST_FINISH_S", 0.5)
    tracked = open_run(of)
    tracked.log(POINTS[0])
    wait_until(lambda: "CreateRunFiles" in wandb_server.requests or wandb_server.runs[of.identity()].files)
    wandb_server.stop()
    for point in POINTS[1:3]:
        tracked.log(point)
    tracked.finish()
    (said,) = capsys.readouterr().err.splitlines()
    assert "not finished in" in said and of.remedy in said
    wandb.teardown()  # the process ends
    wandb_server.start()
    logged(of, POINTS)
    assert shown(wandb_server, of.identity()) == POINTS


def test_a_process_that_is_stopped_does_not_wait_for_a_server_that_is_gone(wandb_server, of, tmp_path, wait_until):
    """Else it would be killed, with a state that is older than it need be."""
    code = """
import pickle, sys
from records.tracking import runs as tracking
tracking.LONGEST_LEAVE_S = 0.5
tracked = tracking.open_run(pickle.load(open(sys.argv[1], "rb")))
tracked.log({"step": 0, "loss": 1.0})
print("logged", flush=True)
sys.stdin.readline()
tracked.leave()
"""
    (tmp_path / "of").write_bytes(pickle.dumps(of))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "of")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "logged\n"
    wandb_server.stop()
    _, complained = process.communicate("\n", timeout=60)
    assert process.returncode == 0 and of.remedy in complained


def complaints_of_another_process(of: RunSpec, folder: Path, **environment: str) -> str:
    """What a process says on standard error that shows a point in an offline run."""
    code = """
import pickle, sys
from records.tracking import runs as tracking
tracked = tracking.open_run(pickle.load(open(sys.argv[1], "rb")))
tracked.log({"step": 0, "loss": 1.0})
tracked.finish()
"""
    of.experiment.wandb.mode = "offline"
    (folder / "of").write_bytes(pickle.dumps(of))
    command = [sys.executable, "-c", code, str(folder / "of")]
    options = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    return subprocess.run(command, env={**os.environ, **environment}, **options).stderr


def test_a_killed_process_leaves_nothing_open_in_the_service_of_the_one_that_started_it(of, tmp_path):
    """As a launcher's that is logged in: its killed job held the run there, and W&B refused it to the next job."""
    of.experiment.wandb.mode = "offline"
    held = open_run(of)
    said = complaints_of_another_process(of, tmp_path, WANDB_SERVICE=os.environ["WANDB_SERVICE"])
    held.leave()
    assert not said and len(offline(of)) == 1


def test_a_service_of_another_machine_is_not_asked_for(of, tmp_path):
    """As SLURM's jobs inherit it, with the rest of the environment."""
    said = complaints_of_another_process(of, tmp_path, WANDB_SERVICE="3-1-unix-/absent/socket")
    assert not said and len(offline(of)) == 1


def test_while_a_server_that_has_the_run_is_gone_no_second_one_is_begun(wandb_server, of, monkeypatch, capsys):
    """Its upload would add the same points again."""
    logged(of, POINTS[:2])
    wandb_server.stop()
    monkeypatch.setattr(tracking, "LONGEST_INIT_S", 0.5)
    logged(of, POINTS)
    (said,) = capsys.readouterr().err.splitlines()
    assert "cannot be reached" in said and of.remedy in said and not offline(of)
    wandb_server.start()
    logged(of, POINTS)
    assert shown(wandb_server, of.identity()) == POINTS


def test_a_slow_server_holds_up_nothing(wandb_server, of):
    """All points are taken while it answers nothing at all, and arrive when it does."""
    tracked = open_run(of)
    wandb_server.answering.clear()
    for point in POINTS:
        tracked.log(point)
    assert shown(wandb_server, of.identity()) == [] and not tracked.failure
    wandb_server.answering.set()
    tracked.finish()
    assert shown(wandb_server, of.identity()) == POINTS and not tracked.failure


def test_a_login_that_is_missing_is_one_sentence_and_the_next_start_with_one_sends_all(
    wandb_server, of, monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    logged(of, POINTS[:2])
    (said,) = capsys.readouterr().err.splitlines()
    assert "no login" in said and "wandb login" in said and len(offline(of)) == 1 and not wandb_server.requests
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    logged(of, POINTS)
    assert shown(wandb_server, of.identity()) == POINTS and not offline(of)


def test_a_key_that_the_server_refuses_is_one_sentence_and_the_next_start_with_a_good_one_sends_all(
    wandb_server, of, monkeypatch, capfd
):
    monkeypatch.setattr(tracking, "LONGEST_INIT_S", 5.0)
    monkeypatch.setenv("WANDB_API_KEY", "x" * len(KEY))
    logged(of, POINTS[:2])
    (said,) = capfd.readouterr().err.splitlines()
    assert "does not know the key" in said and "wandb login" in said
    assert len(offline(of)) == 1 and not wandb_server.runs
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    logged(of, POINTS)
    assert shown(wandb_server, of.identity()) == POINTS and not offline(of)


def test_an_offline_run_that_was_uploaded_is_never_uploaded_again(wandb_server, of):
    """It stays as it is, and what is resumed is a run of its own."""
    of.experiment.wandb.mode = "offline"
    logged(of, POINTS[:2])
    first = of.identity()
    (folder,) = offline(of)
    sync(folder)
    logged(of, POINTS)
    (other,) = offline(of)
    assert of.identity() != first and folder.exists()
    sync(other)
    assert shown(wandb_server, first) == POINTS[:2] and shown(wandb_server, of.identity()) == POINTS


def test_a_run_that_is_superseded_says_so_and_the_next_one_is_another(wandb_server, of):
    logged(of, POINTS)
    first = of.identity()
    supersede(of)
    changed = [point | {"loss": 7.0} for point in POINTS]
    logged(of, changed)
    assert shown(wandb_server, first) == POINTS and shown(wandb_server, of.identity()) == changed
    assert wandb_server.runs[first].about["tags"] == [tracking.SUPERSEDED]
    assert "tags" not in wandb_server.runs[of.identity()].about
