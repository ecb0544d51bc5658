"""The memory that a call takes is seen, whatever was taken before it."""

import pytest
import torch

from benchmarks.memory import STATUS, extra_gib, forget_peak, peak_gib

CPU = torch.device("cpu")
pytestmark = pytest.mark.skipif(not STATUS.exists(), reason="only Linux tells it for parts of a process's life")


def taking(gib: float) -> torch.Tensor:
    return torch.ones(int(gib * 2**30), dtype=torch.uint8)


def test_what_a_call_takes_beside_what_was_there():
    kept = taking(0.2)
    returned, extra = extra_gib(lambda: len(taking(0.1)), CPU)
    assert returned == int(0.1 * 2**30) and extra == pytest.approx(0.1, abs=0.02) and len(kept)


def test_a_peak_is_forgotten():
    forget_peak()
    before = peak_gib()
    taking(0.3)
    assert peak_gib() > before + 0.25
    forget_peak()
    assert peak_gib() < before + 0.05
