"""Peak memory: of a process from Linux's /proc, of a GPU from PyTorch."""

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch

T = TypeVar("T")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): sets the peak of the resident set size to its current value


def peak_gib() -> float:
    """Return the peak memory of this process [GiB] since `reset_peak`, or since its start.

    Without /proc, a reset has no effect, and on Linux the peak includes that of the parent process.
    """
    if STATUS.exists():
        return _status_gib("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def device_peak_gib(device: torch.device) -> float:
    """Return the peak memory of this process [GiB]: of its tensors on a GPU, of the whole process on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else peak_gib()


def reset_peak() -> None:
    """Return free memory to the system and restart the peak of `peak_gib`. Does nothing without /proc."""
    gc.collect()
    if STATUS.exists():
        ctypes.CDLL(None).malloc_trim(0)
        CLEAR.write_text(RESET_PEAK)


def extra_gib(run: Callable[[], T], device: torch.device) -> tuple[T, float]:
    """Return the result of a call and its peak memory [GiB] in excess of the memory in use before it."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        return run(), (torch.cuda.max_memory_allocated(device) - before) / 2**30
    reset_peak()
    before_gib = peak_gib()
    return run(), peak_gib() - before_gib


def _status_gib(name: str) -> float:
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith(f"{name}:")]
    return int(line.split()[1]) / 2**20
