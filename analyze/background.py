"""Work that is done beside other work: what a GPU's processor has time for while the GPU generates."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class BackgroundWorker:
    """Calls functions one after the other: in a thread of its own, or, where that is of no use, at once.

    Never more than one waits, since each holds the tensors of a checkpoint. What one raised is raised by the next
    call, or at the end of the context.
    """

    def __init__(self, in_a_thread: bool):
        self.pool = ThreadPoolExecutor(1) if in_a_thread else None
        self.running: Future[object] | None = None

    def __call__(self, function: Callable[..., object], *arguments: Any) -> None:
        self.wait()
        if self.pool is None:
            function(*arguments)
        else:
            self.running = self.pool.submit(function, *arguments)

    def wait(self) -> None:
        """Returns when nothing is being done any more."""
        running, self.running = self.running, None
        if running is not None:
            running.result()

    def __enter__(self) -> "BackgroundWorker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if error is None:
                self.wait()
        finally:
            if self.pool is not None:
                self.pool.shutdown()
