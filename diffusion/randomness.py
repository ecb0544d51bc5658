"""Randomness that is addressed, not consumed: every draw is a function of (seed, purpose, index).

Nothing depends on what was drawn before, so that a resumed run, another batch size or another number of
processes draws the same. Philox is counter-based for exactly this: Salmon et al. (2011), "Parallel random
numbers: as easy as 1, 2, 3".
"""

import hashlib
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """The generator at an address of at most three numbers from 0 on, e.g. (seed 0, "eps", step 17, image 3).

    The seed and the purpose make the key, the index the upper words of the counter, so that the streams of two
    addresses never meet. A purpose always has the same number of indices: missing ones count as 0.
    """
    key = int.from_bytes(hashlib.blake2b(f"{seed}/{purpose}".encode(), digest_size=16).digest(), "little")
    counter = [0, *index, *[0] * (3 - len(index))]
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


def normal(shape: tuple[int, ...], seed: int, purpose: str, positions: Iterable[tuple[int, ...]]) -> Tensor:
    """Standard normal numbers in float32 [len(positions), *shape], each row drawn at its own address."""
    rows = [generator(seed, purpose, *position).standard_normal(shape, dtype=np.float32) for position in positions]
    return torch.from_numpy(np.stack(rows))


def fixed_noise(shape: tuple[int, ...], samples: int, seed: int) -> Tensor:
    """x_T [samples, *shape]: sample i is the same for every number of samples, batch size and machine."""
    return normal(shape, seed, "x_T", ((i,) for i in range(samples)))
