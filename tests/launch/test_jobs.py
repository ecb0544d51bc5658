"""What runs inside jobs: a checkpoint that fails leaves the others alone, and restarts are counted."""

import signal
import subprocess
import sys

import pytest

from analyze.analysis import SeedAnalysis
from launch.jobs import Analyse, Notes
from launch.plan import checkpoint_minutes


def test_whatever_a_checkpoint_fails_with_the_others_are_analysed(as_if_trained, monkeypatch):
    experiment = as_if_trained("seeds=[0]")
    tensors, analysis = SeedAnalysis.tensors, SeedAnalysis(experiment, 0)

    def failing(self, step):
        if step == 2:
            raise RuntimeError("CUDA out of memory\nand more")
        return tensors(self, step)

    monkeypatch.setattr(SeedAnalysis, "tensors", failing)
    work = Analyse(experiment, 1, 0, (0, 2, 5, 8))
    assert work.progress() == 0 and work() == ""
    assert analysis.missing() == [2] and work.progress() == 3
    assert analysis.failures() == {2: "RuntimeError: CUDA out of memory"}
    monkeypatch.undo()
    assert work() == "" and analysis.missing() == [] and analysis.failures() == {}


def test_the_time_of_a_checkpoint_is_measured(as_if_trained):
    experiment = as_if_trained("seeds=[0]")
    estimated = checkpoint_minutes(experiment)
    Analyse(experiment, 1, 0, (8, 0))()
    assert checkpoint_minutes(experiment) != estimated
    experiment.cluster.checkpoint_minutes = 3
    assert checkpoint_minutes(experiment) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_a_job_whatever_catches_everything(number, repository):
    """An exception from a signal once became a damaged checkpoint in the library that it came up in."""
    code = """
import time
from launch.jobs import end_at_signals
end_at_signals()
print("ready", flush=True)
for _ in range(2):
    try:
        time.sleep(60)
    except BaseException:
        pass
"""
    process = subprocess.Popen([sys.executable, "-c", code], cwd=repository, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert process.wait(timeout=20) == 128 + number


def test_restarts_are_forgotten_when_the_work_gets_further(tmp_path):
    notes = Notes(tmp_path, "17_3")
    notes.begin(10)
    notes.restarts.write_text("ended with status 137\n")
    notes.begin(10)
    assert notes.restarts.exists()
    notes.begin(20)
    assert not notes.restarts.exists()
