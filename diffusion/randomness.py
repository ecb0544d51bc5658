"""Addressed randomness: every random number is a function of (seed, purpose, index).

No number depends on earlier ones, so resuming a run or changing its batch size or number of processes does not change
the random numbers. They come from the counter-based generator Philox: Salmon et al. (2011), "Parallel random numbers:
as easy as 1, 2, 3".
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """Return the generator at an address, for example seed 0, purpose "eps", step 17 and image 3.

    The index consists of at most three numbers ≥ 0; missing numbers count as 0, so a purpose must always use the same
    number of them. The key is derived from seed and purpose, and the index fills the upper words of the counter, so the
    streams of two addresses never overlap.
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), "little")
    counter = [0, *index, *[0] * (3 - len(index))]
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def normal(shape: tuple[int, ...], seed: int, purpose: str, indices: Iterable[tuple[int, ...]]) -> Tensor:
    """Return standard normal numbers, float32 [len(indices), *shape], with one address per row."""
    rows = [generator(seed, purpose, *index).standard_normal(shape, dtype=np.float32) for index in indices]
    return torch.from_numpy(np.stack(rows))


def fixed_noise(shape: tuple[int, ...], samples: int, seed: int, first: int = 0) -> Tensor:
    """Return x_T [samples, *shape] of samples `first` and following.

    Sample i does not depend on the number of samples or on the machine.
    """
    return normal(shape, seed, "x_T", ((i,) for i in range(first, first + samples)))
