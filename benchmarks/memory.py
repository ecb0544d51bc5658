"""The most memory that something takes: of a process from Linux's own books, of a GPU from PyTorch's."""

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_THE_PEAK = "5"  # proc(5): sets the peak of the resident set to what it is now


def peak_gib() -> float:
    """The most memory that this process has had since `forget_peak`, or since it began.

    Where there is no /proc that is since it, or on Linux whoever started it, began.
    """
    if STATUS.exists():
        return _status_gib("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def most_gib(device: torch.device) -> float:
    """The most memory that this process has had: of a GPU, what its tensors took there."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()


def forget_peak() -> None:
    """Lets `peak_gib` count from now on, after what is free was given back; does nothing where that is impossible."""
    gc.collect()
    if STATUS.exists():
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(FORGET_THE_PEAK)


def extra_gib(run: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """What a call returns, and the most memory that it took beside what was there before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return run(), (torch.cuda.max_memory_allocated(device) - before) / 2**30
    forget_peak()
    before_gib = peak_gib()
    return run(), peak_gib() - before_gib


def _status_gib(name: str) -> float:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 2**20
