"""`make train-cifar` on a machine without a GPU: the time estimate, and training on the CPU if allowed."""

import re
import signal
import sys
from pathlib import Path

import pytest
import torch

from configs.load import load
from records.layout import saved_steps, seed_folder
from records.tracking.points import read_points

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def test_without_a_gpu_the_command_estimates_the_time_and_exits(start, command_line, tmp_path):
    process = start("launch.here", *command_line(tmp_path, "train.steps=500000000"))
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 2 and not stdout and stderr.count("\n") == 1
    assert re.search(r"no GPU, and 500,000,000 steps would take about [\d.]+ (d \d+ h|years) on its \d+ cores", stderr)
    assert "cpu=yes" in stderr and not (tmp_path / "runs").exists()


def test_the_configuration_for_cpus_is_named_with_its_time(start, repository):
    process = start("launch.here", "configs/cifar10.yaml")
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 2
    assert re.search(r"python -m train configs/cifar10_small.yaml trains a small network in about [\d.]+ h", stderr), (
        stderr
    )


def test_training_on_the_cpu_if_allowed(start, command_line, tmp_path):
    config, *options = command_line(tmp_path)
    process = start("launch.here", config, "cpu=yes", *options)
    _, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert seed_folder(load(config, options), 0).is_trained(8)


def test_the_command_ends_after_the_training_that_ctrl_c_stops(start, command_line, tmp_path, wait_until):
    config, *options = command_line(tmp_path, "train.steps=3000", "train.state_every_minutes=100")
    process, folder = start("launch.here", config, "cpu=yes", *options), seed_folder(load(config, options), 0)
    wait_until(lambda: read_points(folder.log))
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)
    assert len(saved_steps(folder.state)) == 1
    assert "stopped by SIGINT after step" in process.stderr.read()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is of Linux")
@pytest.mark.parametrize(("set_by_user", "expected"), [({}, "600"), ({"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "5"}, "5")])
def test_torchrun_leaves_time_to_save_the_state(set_by_user, expected, start, command_line, tmp_path, wait_until):
    process = start("launch.here", *command_line(tmp_path), "cpu=yes", **set_by_user)
    proc = Path("/proc") / str(process.pid)
    wait_until(lambda: b"torch.distributed.run" in (proc / "cmdline").read_bytes())
    environment = (proc / "environ").read_bytes().split(b"\0")
    process.communicate(timeout=240)  # its workers would outlive it
    assert f"TORCH_ELASTIC_SHUTDOWN_TIMEOUT={expected}".encode() in environment
