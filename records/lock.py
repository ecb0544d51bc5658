"""Lock files, which the operating system releases when the holding process ends for any reason."""

import errno
import fcntl
import functools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)  # of Lustre without `-o flock` and of NFS without lockd


class Busy(Exception):
    """Another process holds the lock; the message is the description of the holder."""


@contextmanager
def hold(path: Path, holder: str, wait_s: float, shared: bool = False) -> Iterator[None]:
    """Hold the lock at `path` and write `holder` to the file. Raises Busy if the lock is not free within `wait_s`.

    Several processes may hold a `shared` lock, but not together with another one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a+", encoding="utf-8") as file:
        deadline = time.monotonic() + wait_s
        while not _try(file.fileno(), fcntl.LOCK_SH if shared else fcntl.LOCK_EX, without_locks=True):
            if time.monotonic() >= deadline:
                raise Busy(path.read_text(encoding="utf-8", errors="replace"))
            time.sleep(0.1)
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield


def is_held_by(path: Path, holder: str) -> bool:
    """Return whether the process described by `holder` still holds the lock at `path`.

    On a file system without locks, return whether it was the last to take the lock.
    """
    try:
        with open(path, encoding="utf-8") as file:
            return not _try(file.fileno(), fcntl.LOCK_SH, without_locks=False) and file.read() == holder
    except FileNotFoundError:
        return False


def _try(descriptor: int, kind: int, without_locks: bool) -> bool:
    """Take a lock if it is free, and return whether it was; `without_locks` if the file system has none."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        _warn_of_missing_locks()
        return without_locks
    return True


@functools.cache
def _warn_of_missing_locks() -> None:
    print(
        "warning: the file system of this study has no locks (flock), so that nothing prevents two commands from "
        "writing the same files; run one at a time",
        file=sys.stderr,
    )


def describe_process(work: str) -> str:
    """Return a unique description of this process that identifies it for the user."""
    return f"{work}, process {os.getpid()} on {os.uname().nodename}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
