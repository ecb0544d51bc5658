"""Errors that users can fix, and their handling by every command."""

import errno
import os
import signal
import sys
from collections.abc import Callable

INTERRUPTED_STATUS = 130
RERUN = "rerun the same command to resume"
INTERRUPTED = f"\ninterrupted; {RERUN}"

FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
FULL_MEMORY = ("allocate memory", "out of memory")  # in PyTorch's RuntimeError, and in Pillow's OSError
REMEDIES = {  # of errors of the system that a user can fix
    **dict.fromkeys(FULL_DISK_ERRORS, "make room or repair the disk"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "repair the disk or its connection"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "change its permissions or its owner"),
    errno.ENAMETOOLONG: "choose a shorter name",
}
ABSENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError)  # there is no such file
MAX_CHARACTERS = 2_000  # of a printed message


class UserError(Exception):
    """An error whose message is one sentence with the problem, its location and the fix; printed without traceback."""

    status = 2  # exit status of the process


def is_full_disk(error: Exception) -> bool:
    """Return whether nothing more can be written, so that continuing with other work is useless."""
    return isinstance(error, OSError) and error.errno in FULL_DISK_ERRORS


def is_unreadable(error: BaseException | None) -> bool:
    """Return whether the disk or a permission prevents reading, which says nothing about the content of a file."""
    if not isinstance(error, OSError) or isinstance(error, ABSENT):
        return False
    return error.errno not in (None, errno.EINVAL)  # which readers raise for the content, as for impossible offsets


def is_full_memory(error: Exception) -> bool:
    """Return whether the memory, or that of a GPU, is full, which says nothing about the content of a file."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in FULL_MEMORY)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type name if the message is empty."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def printable(text: str) -> str:
    """Return text on one line without control characters, which come from file names and damaged files; at most 2,000.

    They could move the cursor of a terminal, or change the order of the text.
    """
    shown = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
    return shown if len(shown) <= MAX_CHARACTERS else f"{shown[:MAX_CHARACTERS]}…"


def run_command(main: Callable[[list[str]], None]) -> None:
    """Run `main` on the command line's arguments.

    A UserError, a full or broken disk, missing permissions and Ctrl-C end the process with one sentence and an exit
    status.
    """
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {printable(str(error))}", file=sys.stderr)
        sys.exit(error.status)
    except OSError as error:
        if error.errno not in REMEDIES:
            raise
        where = f"{error.filename}: " if error.filename else ""
        remedy = REMEDIES[error.errno]
        print(f"error: {printable(where)}{error.strerror}; {remedy}, then {RERUN}", file=sys.stderr)
        sys.exit(UserError.status)
    except KeyboardInterrupt:
        print(INTERRUPTED, file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)


def exit_on_interrupt() -> None:
    """Make Ctrl-C end this process at once, unless it ignores SIGINT as background jobs of a shell do."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        exit_on_signal(signal.SIGINT, INTERRUPTED)


def exit_on_signal(number: int, message: str = "") -> None:
    """Make a signal end this process at once, with status 128 + signal.

    An exception raised by a signal handler could surface inside a library and be misreported, for example as a
    damaged file. Exiting loses nothing because all files are written atomically.
    """

    def end(*_: object) -> None:
        if message:
            print(message, file=sys.stderr, flush=True)
        os._exit(128 + number)

    signal.signal(number, end)
