"""Variants are timed in turns."""

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
    timed, products = timing.side_by_side(runs, 3, torch.device("cpu"))
    assert calls == ["one"] * 2 + ["other"] * 2 + ["one", "other"] * 3  # twice on their own, and three rounds
    assert timed["one"].busy_s < timed["other"].busy_s and products.keys() == {"fp32", "bf16"}
