"""Cache of the value computed from the tensors of a call, such as the last checkpoint's images."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def cache_last(function: Callable[..., T]) -> Callable[..., T]:
    """Cache the most recent result of a function of tensors and of further, hashable arguments.

    Every checkpoint is compared with the same tensor, such as the last checkpoint's images, so one entry suffices.
    Tensors are compared by value, because each checkpoint reads them from a file again.
    """

    @functools.lru_cache(maxsize=1)
    def cached(*keys: Any) -> T:
        return function(*(key.tensor if isinstance(key, _TensorKey) else key for key in keys))

    @functools.wraps(function)
    def wrapper(*arguments: Any) -> T:
        return cached(*(_TensorKey(value) if isinstance(value, Tensor) else value for value in arguments))

    return wrapper


class _TensorKey:
    """A hashable tensor, equal to any tensor with the same values on the same device."""

    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TensorKey) and torch.equal(self.tensor, other.tensor)

    def __hash__(self) -> int:
        return hash((self.tensor.shape, self.tensor.dtype, self.tensor.device))
