"""Background writing of checkpoints and states, so that training continues meanwhile."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor


class BackgroundWriter:
    """Writes one thing at a time in a thread, in the order of the calls.

    Each call waits until the previous write is complete, so that at most one copy of the tensors is in memory. An error
    of a write is raised by the next call of `write` or `wait`.
    """

    def __init__(self) -> None:
        self.pool = ThreadPoolExecutor(1, "writer")
        self.pending: Future | None = None

    def write(self, function: Callable[[Any], None], content: Any) -> None:
        """Call function(content) in the thread, with copies of all tensors in nested dicts and lists of `content`."""
        self.wait()
        self.pending = self.pool.submit(function, snapshot(content))

    def wait(self) -> None:
        """Wait until everything is written."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.result()

    def close(self) -> None:
        """Finish the current write and end the thread, without raising errors."""
        self.pool.shutdown()


def snapshot(content: Any) -> Any:
    """Return a copy of nested dicts and lists with all tensors copied to the CPU, from a GPU to pinned memory."""
    copy = _copy(content)
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return copy


def _copy(content: Any) -> Any:
    if isinstance(content, Tensor):
        target = torch.empty_like(content, device="cpu", pin_memory=content.is_cuda, requires_grad=False)
        return target.copy_(content.detach(), non_blocking=True)
    if isinstance(content, dict):
        return {key: _copy(value) for key, value in content.items()}
    return [_copy(value) for value in content] if isinstance(content, list) else content
