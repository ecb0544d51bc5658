"""Signals: they set a flag, and the loop acts on it between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from configs.errors import UserError

STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # SIGUSR2: the time that SLURM gave is nearly over
SAVE = (signal.SIGUSR1,)


class Stopped(UserError):
    """Training was asked to stop, and has saved what resuming needs."""

    def __init__(self, number: int, step: int):
        super().__init__(
            f"stopped by {signal.Signals(number).name} after step {step}; the same command goes on from there"
        )
        self.status = 128 + number


class SignalFlags:
    """What signals have asked for. SIGTERM, SIGUSR2 and Ctrl-C: save and stop; SIGUSR1: save and go on."""

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self.save = False

    def note(self, number: int, _frame: FrameType | None) -> None:
        if number in SAVE:
            self.save = True
        elif number == signal.SIGINT and self.stop_signal is not None:
            raise KeyboardInterrupt  # asked twice by a person who does not want to wait
        else:
            self.stop_signal = number


@contextmanager
def catch_signals() -> Iterator[SignalFlags]:
    """Notes signals while it lasts, and puts back what was done on them before."""
    requests = SignalFlags()
    before = {number: signal.signal(number, requests.note) for number in (*STOP, *SAVE)}
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
