"""Ctrl-C ends a process at once, wherever it arrives."""

import signal
import subprocess
import sys

import pytest

SWALLOW = """
import os, signal, sys, time
from configs.errors import exit_on_interrupt
exit_on_interrupt()
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(1)
except BaseException:
    pass
"""


@pytest.mark.parametrize(("handler", "status"), [(signal.SIG_DFL, 130), (signal.SIG_IGN, 0)])
def test_no_library_can_swallow_an_interrupt_but_background_jobs_ignore_it(repository, handler, status):
    process = subprocess.run(
        [sys.executable, "-c", SWALLOW],
        cwd=repository,
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    assert process.returncode == status
    assert process.stderr == ("\ninterrupted; rerun the same command to resume\n" if status else "")
