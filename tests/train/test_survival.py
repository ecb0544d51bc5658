"""A full disk, and a W&B that is gone: training loses nothing, or does not even stop."""

import json
import subprocess

import pytest
from safetensors.torch import load_file

from records import checkpoint, tracking
from records.layout import saved_steps, seed_folder
from records.tracking.runs import offline_runs
from train.trainer import train


@pytest.fixture
def small_disk(tmp_path):
    """A function: gives the folder `runs` so many kilobytes; a file system of its own in memory."""
    runs = tmp_path / "runs"
    runs.mkdir()

    def size(kilobytes: int, *options: str) -> None:
        mount = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kilobytes}k"]), "tmpfs", str(runs)]
        if subprocess.run(mount, capture_output=True).returncode:
            pytest.skip("mounting a small file system is not allowed here")

    yield size
    subprocess.run(["umount", str(runs)], capture_output=True)


def test_a_full_disk_stops_with_a_sentence_and_costs_nothing(small_disk, tiny, tmp_path, command_line, start):
    many = ["train.steps=30", "train.state_every_minutes=0", f"train.checkpoints.at={list(range(0, 30, 2))}"]
    small_disk(600)
    process = start("train", *command_line(tmp_path, *many, "name=full"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in said
    assert "No space left on device; what was saved before is whole" in said
    folder = seed_folder(tiny(*many, "name=full"), 0)
    kept = saved_steps(folder.checkpoints)
    assert 0 < len(kept) < 16
    for step in kept:
        checkpoint.read(folder.checkpoint(step)).weights("model")

    small_disk(100_000, "remount")
    process = start("train", *command_line(tmp_path, *many, "name=full"))
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    straight = tiny(*many, "name=straight")
    train(straight)
    for step in saved_steps(seed_folder(straight, 0).checkpoints):
        for name in ("model", "ema_0.99"):
            one, other = (
                where.checkpoint(step) / f"{name}.safetensors" for where in (folder, seed_folder(straight, 0))
            )
            assert one.read_bytes() == other.read_bytes(), step
    assert folder.log.read_bytes() == seed_folder(straight, 0).log.read_bytes()


def test_a_server_that_is_gone_is_told_and_the_run_is_logged_offline(tiny, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(tracking, "LONGEST_INIT_S", 3.0)
    experiment = tiny("wandb.mode=online")
    train(experiment)
    assert "warning: W&B cannot be reached" in capsys.readouterr().err
    folder = seed_folder(experiment, 0)
    assert load_file(folder.checkpoint(8) / "model.safetensors")
    assert [json.loads(line)["step"] for line in folder.log.read_text().splitlines()] == [2, 4, 6, 8]
    assert len(offline_runs(folder.root.parent)) == 1
