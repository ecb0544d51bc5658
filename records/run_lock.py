"""Exclusive use of a run folder by the command that writes it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from configs.errors import UserError
from records.atomic import clear_partial
from records.layout import SeedFolder
from records.lock import Busy, describe_process, hold

SAVE_S = 60  # for a training to end its step and save its state after a signal
TIMEOUT_S = SAVE_S + 10.0  # the process that holds the lock may be stopping


@contextmanager
def hold_run(folder: SeedFolder, work: str) -> Iterator[None]:
    """Hold the lock of a run folder, and remove the partial checkpoints and states that killed processes left.

    Raises UserError if another process holds it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(folder.lock, describe_process(work), TIMEOUT_S))
        except Busy as holder:
            raise UserError(f"{folder.root} is in use by another process: {holder}") from None
        clear_partial(folder.checkpoints)
        clear_partial(folder.state)
        yield
