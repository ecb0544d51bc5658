"""Signals: the state is saved after the current step, and training stops or continues, depending on the signal."""

import os
import signal
import time

import pytest

from records.layout import saved_steps, seed_folder
from records.tracking.points import read_points
from train.signals import Stopped, catch_signals

LONG = ["train.steps=100000", "train.state_every_minutes=100", "name=long"]


@pytest.fixture
def training(tiny, tmp_path, command_line, start, wait_until):
    """A training process after a few steps, which ends with the test, and its run folder."""
    process = start("train", *command_line(tmp_path, *LONG))
    folder = seed_folder(tiny(*LONG), 0)
    wait_until(lambda: len(read_points(folder.log)) > 3)
    yield process, folder
    process.kill()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR2, 140), (signal.SIGINT, 130)])
def test_stop_signal_saves_and_stops(training, number, status):
    process, folder = training
    assert saved_steps(folder.state) == []
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == status and "Traceback" not in errors
    (step,) = saved_steps(folder.state)
    assert f"stopped by {number.name} after step {step}; rerun the same command to resume" in errors


def test_usr1_saves_and_continues(training, wait_until):
    process, folder = training
    process.send_signal(signal.SIGUSR1)
    wait_until(lambda: saved_steps(folder.state))
    (step,) = saved_steps(folder.state)
    wait_until(lambda: read_points(folder.log)[-1]["step"] > step + 4)
    assert process.poll() is None


def test_many_signals_are_harmless(training):
    process, folder = training
    for _ in range(300):
        process.send_signal(signal.SIGUSR1)
        time.sleep(0.001)
    for _ in range(50):
        process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143 and "Traceback" not in errors
    assert 1 <= len(saved_steps(folder.state)) <= 2


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGUSR2, 140), (signal.SIGINT, 130)])
def test_stop_signal_before_the_first_step_ends_the_process_at_once(number, status):
    """As during the preparation of the data, which can take hours."""
    with pytest.raises(Stopped, match=rf"by {number.name} before the first step; rerun") as stopped, catch_signals():
        os.kill(os.getpid(), number)
        time.sleep(10)
    assert stopped.value.status == status


def test_usr1_before_the_first_step_continues():
    with catch_signals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        time.sleep(0.01)
        assert signals.save_requested


def test_second_ctrl_c_does_not_wait_for_the_step():
    with pytest.raises(KeyboardInterrupt), catch_signals() as signals:
        signals.has_stepped = True
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.stop_signal == signal.SIGINT
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
