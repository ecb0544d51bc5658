"""Uncompiled evaluation of compiled networks, and whether it is active."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_active = threading.Event()


@contextmanager
def eager() -> Iterator[None]:
    """Evaluate compiled networks as if they were not compiled, in all threads of this process; do not nest."""
    with torch.compiler.set_stance("force_eager"):
        _active.set()
        try:
            yield
        finally:
            _active.clear()


def is_eager() -> bool:
    """Return whether networks are evaluated within `eager`; PyTorch has no such function."""
    return _active.is_set()
