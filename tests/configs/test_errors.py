"""Ctrl-C and other signals end a process at once, wherever they arrive, and messages are one printable line."""

import errno
import signal
import subprocess
import sys

import pytest

from configs.errors import is_unreadable, printable, run_command

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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_signal_ends_a_job_even_inside_a_catch_all(number, repository):
    """A library once turned an exception raised by a signal handler into the error of a damaged checkpoint."""
    code = f"""
import time
from configs.errors import exit_on_signal
exit_on_signal({number})
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


@pytest.mark.parametrize(("filename", "place"), [("/runs/a.png", "/runs/a.png: "), (None, "")])
def test_a_full_disk_is_one_sentence_wherever_it_is_noticed(filename, place, capsys):
    def main(_: list[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", filename)

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {place}No space left on device; make room or ")


def test_other_errors_of_the_system_are_not_hidden():
    def main(_: list[str]) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    with pytest.raises(OSError, match="Bad file"):
        run_command(main)


def test_missing_permissions_are_one_sentence(capsys):
    def main(_: list[str]) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/runs/lock")

    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        "error: /runs/lock: Permission denied; change its permissions or its owner, then rerun the same command to "
        "resume\n"
    )


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (PermissionError(errno.EACCES, ""), True),
        (OSError(errno.EIO, ""), True),
        (OSError(errno.EINVAL, ""), False),
        (FileNotFoundError(errno.ENOENT, ""), False),
        (OSError("not an image"), False),
        (ValueError(), False),
    ],
)
def test_errors_of_the_content_are_no_errors_of_reading(error, expected):
    assert is_unreadable(error) == expected
