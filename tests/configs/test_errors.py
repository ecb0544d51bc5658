"""Ctrl-C ends a process at once, wherever it arrives, and messages are one printable line."""

import signal
import subprocess
import sys

import pytest

from configs.errors import printable

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


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x̂_T “é” 漢字 🙂 a.png", "x̂_T “é” 漢字 🙂 a.png"),
        ("a\x1b[31m\nb\r\tc", "a�[31m�b��c"),
        ("\u202egnp.exe \udcff", "�gnp.exe �"),
        ("x" * 5_000, "x" * 2_000 + "…"),
    ],
)
def test_messages_are_printable_and_short(text, shown):
    assert printable(text) == shown
