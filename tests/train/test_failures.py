"""A full disk and an unreachable W&B server: training loses no results."""

import json
import subprocess
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from configs.schema import Train
from records import checkpoint
from records.layout import saved_steps, seed_folder
from records.tracking import runs
from records.tracking.runs import offline_runs
from train.accelerator import out_of_memory
from train.trainer import Trainer, train


@pytest.fixture
def small_disk(tmp_path):
    """A function that mounts the folder `runs` as a file system in memory with a size in kilobytes."""
    folder = tmp_path / "runs"
    folder.mkdir()

    def mount(kilobytes: int, *options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", ",".join([*options, f"size={kilobytes}k"]), "tmpfs", str(folder)]
        if subprocess.run(command, capture_output=True).returncode:
            pytest.skip("this user cannot mount a file system")

    yield mount
    subprocess.run(["umount", str(folder)], capture_output=True)


def test_full_disk_stops_with_one_error_and_the_run_resumes(small_disk, tiny, tmp_path, command_line, start):
    options = ["train.steps=30", "train.state_every_minutes=0", f"train.checkpoints.at={list(range(0, 30, 2))}"]
    small_disk(600)
    process = start("train", *command_line(tmp_path, *options, "name=full"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in errors
    assert "No space left on device; everything saved so far is intact" in errors
    folder = seed_folder(tiny(*options, "name=full"), 0)
    saved = saved_steps(folder.checkpoints)
    assert 0 < len(saved) < 16
    for step in saved:
        checkpoint.read(folder.checkpoint(step)).weights("model")

    small_disk(100_000, "remount")
    process = start("train", *command_line(tmp_path, *options, "name=full"))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    uninterrupted = tiny(*options, "name=uninterrupted")
    train(uninterrupted)
    expected = seed_folder(uninterrupted, 0)
    for step in saved_steps(expected.checkpoints):
        for name in ("model", "ema_0.99"):
            weights = [run.checkpoint(step) / f"{name}.safetensors" for run in (folder, expected)]
            assert weights[0].read_bytes() == weights[1].read_bytes(), step
    assert folder.log.read_bytes() == expected.log.read_bytes()


def test_run_is_logged_offline_if_the_server_is_unreachable(tiny, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port, where no server listens
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(runs, "INIT_TIMEOUT_S", 3.0)
    experiment = tiny("wandb.mode=online")
    train(experiment)
    assert "this run is logged offline" in capsys.readouterr().err
    folder = seed_folder(experiment, 0)
    assert load_file(folder.checkpoint(8) / "model.safetensors")
    assert [json.loads(line)["step"] for line in folder.log.read_text().splitlines()] == [2, 4, 6, 8]
    assert len(offline_runs(folder.root.parent)) == 1


@pytest.mark.parametrize("other", [5, 12])
def test_processes_that_find_different_states_do_not_train(other, tiny, monkeypatch):
    """The other process sees an older or a newer state, as on a shared file system that is not up to date."""
    train(tiny())
    monkeypatch.setattr(Trainer, "_max_over_processes", lambda self, step: max(step, other if step > 0 else -other))
    with pytest.raises(UserError, match=r"find different states in .*seed_0/state: this one would resume at step 8;"):
        train(tiny("train.steps=20"))


def test_out_of_memory_names_the_option_and_the_run_resumes(tiny, monkeypatch):
    experiment, steps = tiny(), iter(range(3))

    def train_step(self, batch):
        if next(steps, None) is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return step(self, batch)

    step = Trainer.train_step
    monkeypatch.setattr(Trainer, "train_step", train_step)
    message = r"memory of the cpu device is too small for 4 images at once; set train\.gradient_accumulation_steps=2 or"
    with pytest.raises(UserError, match=message):
        train(experiment)
    assert saved_steps(seed_folder(experiment, 0).checkpoints) == [0, 2]
    monkeypatch.setattr(Trainer, "train_step", step)
    train(tiny("train.gradient_accumulation_steps=2"))
    assert saved_steps(seed_folder(experiment, 0).checkpoints) == [0, 2, 5, 8]


@pytest.mark.parametrize(
    ("batch_size", "microbatches", "processes", "message"),
    [
        (128, 1, 8, "16 images at once; set train.gradient_accumulation_steps=2 or more"),
        (90, 1, 2, "45 images at once; set train.gradient_accumulation_steps=3 or more"),
        (8, 4, 2, "for 1 images at once; set train.batch_size to less"),
    ],
)
def test_the_advice_divides_the_images_of_a_process(batch_size, microbatches, processes, message):
    options = Train(batch_size=batch_size, gradient_accumulation_steps=microbatches)
    accelerator = SimpleNamespace(num_processes=processes, device=torch.device("cuda"))
    assert str(out_of_memory(options, accelerator)).endswith(message)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 68719476736 bytes"),
    ],
)
@pytest.mark.parametrize("at", ["train.trainer.load_optimizer_state", "train.state.torch.load"])
def test_out_of_memory_while_a_state_is_loaded_does_not_advise_to_remove_it(at, error, tiny, monkeypatch):
    def fail(*_, **__):
        raise error

    train(tiny())
    monkeypatch.setattr(at, fail)
    with pytest.raises(UserError, match=r"the memory of the cpu device is too small to load .*/000000008; end"):
        train(tiny("train.steps=20"))
