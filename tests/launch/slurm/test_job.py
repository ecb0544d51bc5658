"""The inside of a SLURM job: exit on signals, and the count of restarts without progress."""

import signal
import subprocess
import sys

import pytest

from launch.slurm.job import JobFiles


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_a_job_even_inside_a_catch_all(number, repository):
    """A library once turned an exception raised by a signal handler into the error of a damaged checkpoint."""
    code = """
import time
from launch.slurm.job import exit_on_signals
exit_on_signals()
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


def test_progress_resets_the_restarts(tmp_path):
    files = JobFiles(tmp_path, "17_3")
    files.record_progress(10)
    files.restarts.write_text("ended with status 137\n")
    files.record_progress(10)
    assert files.restarts.exists()
    files.record_progress(20)
    assert not files.restarts.exists()
