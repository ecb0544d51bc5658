"""The one kind of error that a user can mend, and how every command ends on it."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """What is wrong, where, and what to do, in one sentence: printed as it is, without a traceback."""


def run_command(main: Callable[[list[str]], None]) -> None:
    """Runs `main` on the command line's arguments; ends the process with 2 on a UserError and 130 on Ctrl-C."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\ninterrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)
