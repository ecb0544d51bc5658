"""Signal handling: before the first step, a signal ends the process; then it sets a flag that is read between steps."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from configs.errors import RERUN, UserError

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)  # SIGUSR2: SLURM's time limit is near
SAVE_SIGNALS = (signal.SIGUSR1,)


class Stopped(UserError):
    """End of a training process that a signal stopped: after its state was saved, or before the first step."""

    def __init__(self, number: int, step: int | None):
        when = "before the first step" if step is None else f"after step {step}"
        super().__init__(f"stopped by {signal.Signals(number).name} {when}; {RERUN}")
        self.status = 128 + number


class SignalFlags:
    """Requests received as signals. SIGTERM, SIGUSR2 and Ctrl-C: save and stop; SIGUSR1: save and continue.

    Until the process `has_stepped`, it has nothing to save, and the first three stop it at once.
    """

    def __init__(self) -> None:
        self.stop_signal: int | None = None
        self.save_requested = False
        self.has_stepped = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if number in SAVE_SIGNALS:
            self.save_requested = True
            return
        is_first = self.stop_signal is None
        self.stop_signal = number
        if not self.has_stepped if is_first else number == signal.SIGINT:
            raise KeyboardInterrupt  # do not wait for the step, or for the preparations, to end


@contextmanager
def catch_signals() -> Iterator[SignalFlags]:
    """Set flags on signals inside the context, and restore the previous handlers on exit.

    Raises Stopped if a signal ends the context before the first step.
    """
    flags = SignalFlags()
    previous = {number: signal.signal(number, flags.handle) for number in (*STOP_SIGNALS, *SAVE_SIGNALS)}
    try:
        yield flags
    except KeyboardInterrupt:
        if flags.has_stepped or flags.stop_signal is None:
            raise
        raise Stopped(flags.stop_signal, step=None) from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
