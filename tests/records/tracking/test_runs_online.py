"""W&B runs as the client sends them to a fake server, and recovery from failures of the server."""

import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import wandb
from wandb_server import KEY

from records.layout import experiment_folder, seed_folder
from records.tracking import runs
from records.tracking.runs import REMEDY, SUPERSEDED, RunSpec, TrackedRun, offline_runs, open_run, supersede

POINTS = [{"step": step, "loss": 1 / (1 + step)} for step in (0, 5, 10, 15)]


@pytest.fixture
def spec(tiny) -> RunSpec:
    experiment = tiny("wandb.mode=online")
    return RunSpec(experiment, 0, "train", seed_folder(experiment, 0).root, "digits")


def log(spec: RunSpec, points: list[dict]) -> TrackedRun:
    """Open a run, log points and finish it, as one process does."""
    tracked = open_run(spec)
    for point in points:
        tracked.log(point)
    tracked.finish()
    return tracked


def logged(server, run_id: str | None) -> list[dict]:
    """Return the points of a run on the server."""
    return [{key: item[key] for key in ("step", "loss") if key in item} for item in server.runs[run_id].history]


def offline(spec: RunSpec) -> list[Path]:
    return offline_runs(experiment_folder(spec.experiment))


def sync(folder: Path) -> None:
    command = [sys.executable, "-m", "wandb", "sync", str(folder)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)


def test_run_contains_each_point_once_at_its_step_and_its_provenance(wandb_server, spec, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1234")
    monkeypatch.setenv("SLURM_NODELIST", "node[1-2]")
    assert not log(spec, POINTS).failure
    run = wandb_server.runs[spec.server_id()]
    assert logged(wandb_server, spec.server_id()) == POINTS
    assert [item["_step"] for item in run.history] == [point["step"] for point in POINTS]
    assert {key: run.summary[key] for key in POINTS[-1]} == POINTS[-1] and run.exit_code == 0
    assert run.config["model"]["image_size"] == 8 and run.config["seed"] == 0
    assert run.config["versions"]["noisemap"] and run.config["environment"]["host"]
    assert run.config["environment"]["slurm"] == {"job_id": "1234", "nodelist": "node[1-2]"}
    assert (run.about["groupName"], run.about["jobType"]) == ("digits", "train")
    assert run.about["displayName"] == "digits seed 0 train"


@pytest.mark.parametrize("count", [1, 2])
def test_resumed_run_continues_without_duplicates(count, wandb_server, spec):
    """Also after step 0 alone, which a test for a nonzero last step would miss."""
    log(spec, POINTS[:count])
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS and len(wandb_server.runs) == 1


def test_run_of_a_process_killed_while_opening_it_is_resumed(wandb_server, spec, monkeypatch):
    def initialize_and_die(*arguments):
        initialize(*arguments).finish()
        raise KeyboardInterrupt

    initialize = runs._init
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(runs, "_init", initialize_and_die)
        open_run(spec)
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS and len(wandb_server.runs) == 1


def test_run_of_the_version_before_is_resumed_under_its_id(wandb_server, spec):
    """Online and offline; `wandb_train_id` named both kinds."""
    log(spec, POINTS[:2])
    old_id = "digits-0-train-0123abcd"
    wandb_server.runs[old_id] = wandb_server.runs.pop(spec.server_id())
    spec.id_file.write_text(old_id)
    old_offline = experiment_folder(spec.experiment) / "wandb" / f"offline-run-20260101_000000-{old_id}"
    old_offline.mkdir()
    (old_offline / f"run-{old_id}.wandb").touch()
    spec.experiment.wandb.mode = "offline"
    log(spec, POINTS)
    assert len(offline(spec)) == 1 and not old_offline.exists()
    spec.experiment.wandb.mode = "online"
    log(spec, POINTS)
    assert wandb_server.runs.keys() == {old_id} and logged(wandb_server, old_id) == POINTS and not offline(spec)


def test_training_again_in_place_of_a_deleted_folder_is_a_new_run(wandb_server, spec):
    log(spec, POINTS)
    first = spec.server_id()
    shutil.rmtree(experiment_folder(spec.experiment))
    changed = [point | {"loss": 7.0} for point in POINTS]
    log(spec, changed)
    assert logged(wandb_server, first) == POINTS and logged(wandb_server, spec.server_id()) == changed


def test_next_start_sends_the_points_lost_with_the_server(wandb_server, spec, monkeypatch, capsys, wait_until):
    monkeypatch.setattr(runs, "FINISH_TIMEOUT_S", 0.5)
    tracked = open_run(spec)
    tracked.log(POINTS[0])
    wait_until(lambda: "CreateRunFiles" in wandb_server.requests or wandb_server.runs[spec.server_id()].files)
    wandb_server.stop()
    for point in POINTS[1:3]:
        tracked.log(point)
    tracked.finish()
    (message,) = capsys.readouterr().err.splitlines()
    assert "not finished in" in message and REMEDY in message
    wandb.teardown()  # as at the end of the process
    wandb_server.start()
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS


def test_stopped_process_does_not_wait_for_an_unreachable_server(wandb_server, spec, tmp_path):
    """Otherwise the process is killed before it saves its state."""
    code = """
import pickle, sys
from records.tracking import runs
runs.ABORT_TIMEOUT_S = 0.5
tracked = runs.open_run(pickle.load(open(sys.argv[1], "rb")))
tracked.log({"step": 0, "loss": 1.0})
print("logged", flush=True)
sys.stdin.readline()
tracked.abort()
"""
    (tmp_path / "spec").write_bytes(pickle.dumps(spec))
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "spec")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "logged\n"
    wandb_server.stop()
    _, errors = process.communicate("\n", timeout=60)
    assert process.returncode == 0 and REMEDY in errors


def errors_of_another_process(spec: RunSpec, folder: Path, **environment: str) -> str:
    """Return the standard error of a process that logs a point offline."""
    code = """
import pickle, sys
from records.tracking import runs
tracked = runs.open_run(pickle.load(open(sys.argv[1], "rb")))
tracked.log({"step": 0, "loss": 1.0})
tracked.finish()
"""
    spec.experiment.wandb.mode = "offline"
    (folder / "spec").write_bytes(pickle.dumps(spec))
    command = [sys.executable, "-c", code, str(folder / "spec")]
    options = {"capture_output": True, "text": True, "timeout": 60, "check": True}
    return subprocess.run(command, env={**os.environ, **environment}, **options).stderr


def test_process_does_not_use_the_service_of_its_parent(spec, tmp_path):
    """A killed job would keep its run open in the launcher's service, and W&B would refuse the run to the next job."""
    spec.experiment.wandb.mode = "offline"
    open_in_parent = open_run(spec)
    errors = errors_of_another_process(spec, tmp_path, WANDB_SERVICE=os.environ["WANDB_SERVICE"])
    open_in_parent.abort()
    assert not errors and len(offline(spec)) == 1


def test_process_does_not_use_the_service_of_another_machine(spec, tmp_path):
    """SLURM jobs inherit its address with the rest of the environment."""
    errors = errors_of_another_process(spec, tmp_path, WANDB_SERVICE="3-1-unix-/absent/socket")
    assert not errors and len(offline(spec)) == 1


def test_no_offline_run_while_the_server_of_the_run_is_unreachable(wandb_server, spec, monkeypatch, capsys):
    """Uploading an offline run would duplicate the points."""
    log(spec, POINTS[:2])
    wandb_server.stop()
    monkeypatch.setattr(runs, "INIT_TIMEOUT_S", 0.5)
    log(spec, POINTS)
    (message,) = capsys.readouterr().err.splitlines()
    assert "W&B failed" in message and REMEDY in message and not offline(spec)
    wandb_server.start()
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS


def test_slow_server_does_not_delay_the_work(wandb_server, spec):
    """Points are accepted while the server answers nothing, and arrive later."""
    tracked = open_run(spec)
    wandb_server.answering.clear()
    for point in POINTS:
        tracked.log(point)
    assert logged(wandb_server, spec.server_id()) == [] and not tracked.failure
    wandb_server.answering.set()
    tracked.finish()
    assert logged(wandb_server, spec.server_id()) == POINTS and not tracked.failure


def test_missing_login_is_one_sentence_and_the_next_start_sends_all_points(
    wandb_server, spec, monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    log(spec, POINTS[:2])
    (message,) = capsys.readouterr().err.splitlines()
    assert "no login" in message and "wandb login" in message
    assert len(offline(spec)) == 1 and not wandb_server.requests
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS and not offline(spec)


def test_rejected_key_is_one_sentence_and_the_next_start_sends_all_points(wandb_server, spec, monkeypatch, capfd):
    monkeypatch.setattr(runs, "INIT_TIMEOUT_S", 5.0)
    monkeypatch.setenv("WANDB_API_KEY", "x" * len(KEY))
    log(spec, POINTS[:2])
    (message,) = capfd.readouterr().err.splitlines()
    assert "the server rejects the key" in message and "wandb login" in message
    assert len(offline(spec)) == 1 and not wandb_server.runs
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    log(spec, POINTS)
    assert logged(wandb_server, spec.server_id()) == POINTS and not offline(spec)


def test_uploaded_offline_run_is_kept_and_a_resumed_one_is_a_new_run(wandb_server, spec):
    spec.experiment.wandb.mode = "offline"
    log(spec, POINTS[:2])
    (first,) = offline(spec)
    sync(first)
    log(spec, POINTS)
    (second,) = set(offline(spec)) - {first}
    sync(second)
    first_id, second_id = wandb_server.runs
    assert first.name.endswith(first_id) and second.name.endswith(second_id)
    assert logged(wandb_server, first_id) == POINTS[:2] and logged(wandb_server, second_id) == POINTS


def test_uploaded_offline_run_continues_online_without_duplicates(wandb_server, spec):
    spec.experiment.wandb.mode = "offline"
    log(spec, POINTS[:2])
    sync(*offline(spec))
    spec.experiment.wandb.mode = "online"
    log(spec, POINTS)
    assert wandb_server.runs.keys() == {spec.server_id()} and not offline(spec)
    assert logged(wandb_server, spec.server_id()) == POINTS


def test_offline_runs_of_two_analyses_of_a_seed_are_independent(spec):
    spec.experiment.wandb.mode = "offline"
    specs = [replace(spec, job_type="analysis", folder=spec.folder / "analysis" / name) for name in ("T100", "T50")]
    for analysis in (*specs, *specs):
        log(analysis, POINTS)
    assert len(offline(spec)) == 2


def test_superseded_run_is_tagged_and_the_next_one_has_another_id(wandb_server, spec):
    log(spec, POINTS)
    first = spec.server_id()
    supersede(spec)
    changed = [point | {"loss": 7.0} for point in POINTS]
    log(spec, changed)
    assert logged(wandb_server, first) == POINTS and logged(wandb_server, spec.server_id()) == changed
    assert wandb_server.runs[first].about["tags"] == [SUPERSEDED]
    assert "tags" not in wandb_server.runs[spec.server_id()].about


@pytest.mark.parametrize("unavailable", ["offline", "unreachable"])
def test_superseded_run_is_tagged_when_the_server_is_available_again(unavailable, wandb_server, spec, monkeypatch):
    log(spec, POINTS)
    first = spec.server_id()
    if unavailable == "offline":
        spec.experiment.wandb.mode = "offline"
    else:
        monkeypatch.setattr(runs, "INIT_TIMEOUT_S", 0.5)
        wandb_server.stop()
    supersede(spec)
    changed = [point | {"loss": 7.0} for point in POINTS]
    log(spec, changed)
    assert len(offline(spec)) == 1 and "tags" not in wandb_server.runs[first].about
    if unavailable == "unreachable":
        wandb_server.start()
    spec.experiment.wandb.mode = "online"
    log(spec, changed)
    assert wandb_server.runs[first].about["tags"] == [SUPERSEDED]
    assert wandb_server.runs.keys() == {first, spec.server_id()} and not offline(spec)
    assert logged(wandb_server, spec.server_id()) == changed
    assert "tags" not in wandb_server.runs[spec.server_id()].about


def test_superseded_run_that_was_deleted_is_not_tried_again(wandb_server, spec, monkeypatch, capsys):
    log(spec, POINTS)
    first, init = spec.server_id(), runs._init

    def refuse(spec, run_id, *arguments):
        if run_id == first:
            raise ConnectionError("run was deleted")
        return init(spec, run_id, *arguments)

    supersede(spec)
    monkeypatch.setattr(runs, "_init", refuse)
    for _ in range(2):
        assert not log(spec, POINTS).failure
    (message,) = capsys.readouterr().err.splitlines()
    assert f"tag the run {first} as superseded yourself, unless you deleted it" in message
    assert logged(wandb_server, spec.server_id()) == POINTS
