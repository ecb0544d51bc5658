"""The one kind of error that a user can mend, and how every command ends on it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence: printed as it is, without a traceback."""

    status = 2  # that the process ends with


def first_line(error: BaseException) -> str:
    """What an exception says, in a line: its first one, or its name where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def run_command(main: Callable[[list[str]], None]) -> None:
    """Runs `main` on the command line's arguments; a UserError or Ctrl-C ends the process with its status."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
