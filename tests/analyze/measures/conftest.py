"""What the paper's authors' code computes, and inputs on which a careless measure goes wrong."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

STORED = Path(__file__).parents[2] / "reference" / "measures.npz"


@dataclass(frozen=True)
class Golden:
    """Inputs as tensors and expected values as numbers, by name: see tests/reference/README.md."""

    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def value(self, name: str) -> float:
        return self.arrays[name].item()


@pytest.fixture(scope="session")
def golden() -> Golden:
    with np.load(STORED) as file:
        return Golden(dict(file))


@pytest.fixture
def drawn():
    """A function: images [n, 3, 8, 8] of normal numbers in steps of 1/64, which stay exact when 4096 is added."""
    generator = torch.Generator().manual_seed(0)
    return lambda n: (torch.randn(n, 3, 8, 8, generator=generator) * 64).round() / 64


@pytest.fixture
def line():
    """A function: images of a single pixel each, with the given values."""
    return lambda *values: torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1)
