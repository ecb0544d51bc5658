"""Cache of the value computed from the last checkpoint's images or from the training set."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def cache_last(function: Callable[..., T]) -> Callable[..., T]:
    """Cache the most recent result of a function of a tensor and of further, hashable arguments.

    Every checkpoint is compared with the same tensor, such as the last checkpoint's images, so one entry suffices.
    Tensors are compared by value, because each checkpoint reads them from a file again.
    """

    @functools.lru_cache(maxsize=1)
    def cached(key: _TensorKey, *arguments: Any) -> T:
        return function(key.tensor, *arguments)

    @functools.wraps(function)
    def wrapper(tensor: Tensor, *arguments: Any) -> T:
        return cached(_TensorKey(tensor), *arguments)

    return wrapper


class _TensorKey:
    """A hashable tensor, equal to any tensor with the same values on the same device."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TensorKey) and torch.equal(self.tensor, other.tensor)

    def __hash__(self) -> int:
        return hash((self.tensor.shape, self.tensor.dtype, self.tensor.device))
