"""Reference values computed by the authors' code, and inputs that expose rounding errors."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

REFERENCE = Path(__file__).parents[2] / "reference"


@dataclass(frozen=True)
class Golden:
    """Inputs as tensors and expected values as numbers, by name; see tests/reference/README.md."""

    arrays: dict[str, np.ndarray]

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self.arrays[name])

    def value(self, name: str) -> float:
        return self.arrays[name].item()


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Return the reference inputs and values."""
    with np.load(REFERENCE / "measures.npz") as measures, np.load(REFERENCE / "plain_mask.npz") as mask:
        return Golden({**measures, **mask})


@pytest.fixture
def random_images():
    """Return a function that draws normal images [n, 3, 8, 8] in steps of 1/64, which stay exact if 4096 is added."""
    generator = torch.Generator().manual_seed(0)
    return lambda n: (torch.randn(n, 3, 8, 8, generator=generator) * 64).round() / 64


@pytest.fixture
def pixel_images():
    """Return a function that makes images of a single pixel each, with the passed values."""
    return lambda *values: torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1, 1)
