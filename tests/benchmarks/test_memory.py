"""Peak memory of a call, independent of earlier allocations."""

import pytest
import torch

from benchmarks.memory import STATUS, extra_gib, peak_gib, reset_peak

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="only Linux can reset the peak of a process")


def allocate(gib: float) -> torch.Tensor:
    return torch.ones(int(gib * 2**30), dtype=torch.uint8)


def test_only_the_memory_of_the_call_counts():
    in_use = allocate(0.2)
    result, extra = extra_gib(lambda: len(allocate(0.1)), CPU)
    assert result == int(0.1 * 2**30) and extra == pytest.approx(0.1, abs=0.02) and len(in_use)


def test_reset_peak_discards_earlier_allocations():
    reset_peak()
    before = peak_gib()
    allocate(0.3)
    assert peak_gib() > before + 0.25
    reset_peak()
    assert peak_gib() < before + 0.05
