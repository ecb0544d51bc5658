"""Background thread that measures while the GPU generates."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any


class BackgroundWorker:
    """Sequential executor of functions, in a background thread or, without `overlap`, in the calling thread.

    At most one function is pending, because each holds the tensors of a checkpoint. An exception is raised by the next
    call of `submit` or at the end of the context.
    """

    def __init__(self, overlap: bool):
        self.pool = ThreadPoolExecutor(1) if overlap else None
        self.pending: Future[object] | None = None

    def submit(self, function: Callable[..., object], *arguments: Any) -> None:
        """Wait for the pending function, then run this one."""
        self.wait()
        if self.pool is None:
            function(*arguments)
        else:
            self.pending = self.pool.submit(function, *arguments)

    def wait(self) -> None:
        """Wait until no function is pending."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> "BackgroundWorker":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        try:
            if error is None:
                self.wait()
        finally:
            if self.pool is not None:
                self.pool.shutdown()
