"""Who is at work: a lock file that the operating system frees when its holder ends, however it ends."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Busy(Exception):
    """Somebody else holds the lock; the message is what the holder wrote of itself."""


@contextmanager
def hold(path: Path, holder: str, wait_s: float) -> Iterator[None]:
    """Holds the lock at `path` with `holder` written into it. Raises Busy where it is not free within `wait_s`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + wait_s
        while not _try(file.fileno(), fcntl.LOCK_EX):
            if time.monotonic() >= deadline:
                raise Busy(path.read_text(encoding="utf-8"))
            time.sleep(0.1)
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield


def is_held_by(path: Path, holder: str) -> bool:
    """Whether the process that called itself `holder` still holds the lock at `path`."""
    try:
        with open(path, encoding="utf-8") as file:
            return not _try(file.fileno(), fcntl.LOCK_SH) and file.read() == holder
    except FileNotFoundError:
        return False


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def describe_process(work: str) -> str:
    """What a holder writes of itself: unlike any other's, and enough to find it."""
    return f"{work}, process {os.getpid()} on {os.uname().nodename}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
