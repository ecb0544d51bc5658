"""Signal handling: a signal only sets a flag, and the training loop acts on it between two steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from configs.errors import RERUN, UserError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # SIGUSR2: SLURM's time limit is near
SAVE_SIGNALS = (signal.SIGUSR1,)


class Stopped(UserError):
    """End of a training process that a signal stopped, raised after its state was saved."""

    def __init__(self, number: int, step: int):
        super().__init__(f"stopped by {signal.Signals(number).name} after step {step}; {RERUN}")
        self.status = 128 + number


class SignalFlags:
    """Requests received as signals. SIGTERM, SIGUSR2 and Ctrl-C: save and stop; SIGUSR1: save and continue."""

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self.save_requested = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number in SAVE_SIGNALS:
            self.save_requested = True
        elif number == signal.SIGINT and self.stop_signal is not None:
            raise KeyboardInterrupt  # a second Ctrl-C: do not wait for the step to end
        else:
            self.stop_signal = number


@contextmanager
def catch_signals() -> Iterator[SignalFlags]:
    """Set flags on signals inside the context, and restore the previous handlers on exit."""
    flags = SignalFlags()
    previous = {number: signal.signal(number, flags.handle) for number in (*STOP_SIGNALS, *SAVE_SIGNALS)}
    try:
        yield flags
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
