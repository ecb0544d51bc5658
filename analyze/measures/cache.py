"""What is computed of the same tensor for one checkpoint after the other, computed once."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def kept(function: Callable[..., T]) -> Callable[..., T]:
    """The function of a tensor and of other, hashable arguments, which keeps its last result and the tensor.

    It is for what every checkpoint is compared with: the last one's images, the training set.
    """

    @functools.lru_cache(maxsize=1)
    def once(same: _Same, *others: Any) -> T:
        return function(same.tensor, *others)

    @functools.wraps(function)
    def of(tensor: Tensor, *others: Any) -> T:
        return once(_Same(tensor), *others)

    return of


class _Same:
    """A tensor as the key of a cache: equal to another that holds the same values on the same device."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and torch.equal(self.tensor, other.tensor)

    def __hash__(self) -> int:
        return hash((self.tensor.shape, self.tensor.dtype, self.tensor.device))
