"""Interleaved timing."""

import torch

from benchmarks import timing


def test_variants_take_turns(monkeypatch):
    monkeypatch.setattr(timing, "MATRIX_SIDE", {"cpu": 64})
    calls: list[str] = []
    work = torch.ones(256, 256)
    runs = {
        "one": lambda: calls.append("one"),
        "other": lambda: (calls.append("other"), [work @ work for _ in range(9)]),
    }
    variants, matmuls = timing.time_interleaved(runs, 3, torch.device("cpu"))
    assert calls == ["one"] * 2 + ["other"] * 2 + ["one", "other"] * 3  # two warm-up calls each, then three rounds
    assert variants["one"].compute_s < variants["other"].compute_s and matmuls.keys() == {"fp32", "bf16"}
