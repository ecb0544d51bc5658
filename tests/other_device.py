"""A second device, simulated on the CPU: operations that mix devices fail as they would on a GPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only

OTHER, CPU = torch.device("meta"), torch.device("cpu")
MAY_MIX = {Tensor.copy_, torch._has_compatible_shallow_copy_type}  # Module.to compares a parameter with its copy
MAY_MIX_INDEX = {Tensor.__getitem__, Tensor.__setitem__}  # the index may be on the CPU
NUMPY = {Tensor.numpy, Tensor.__array__}


class OtherDevice(TorchFunctionMode):
    """Context in which `device="meta"` names a device that computes like the CPU.

    Results are on the device of their inputs. Raises RuntimeError for inputs on both devices, unless those on the CPU
    are scalars, and TypeError for a conversion to NumPy without `cpu()`.
    """

    def __torch_function__(self, func: Callable, types: Any, args: Sequence = (), kwargs: dict | None = None) -> Any:
        kwargs = dict(kwargs or {})
        if func == Tensor.device.__get__:
            return _device(args[0])
        if func == Tensor.data.__set__:  # Module.to replaces the data of a parameter
            args[0].is_elsewhere = _device(args[1]) == OTHER
            return func(*args)
        if func is Tensor.__iter__:
            return iter(self.__torch_function__(Tensor.unbind, types, args))
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        compared = tree_leaves((args[0], args[2:])) if func in MAY_MIX_INDEX and _device(args[0]) == OTHER else tensors
        devices = {_device(each) for each in compared if isinstance(each, Tensor) and (each.ndim or _is_other(each))}
        if len(devices) > 1 and func not in MAY_MIX:
            raise RuntimeError(f"expected all tensors on the same device in {func.__name__}")
        if func in NUMPY and OTHER in devices:
            raise TypeError("a tensor of another device cannot be converted to NumPy")
        target, args, kwargs = _target(func, tensors, list(args), kwargs)
        return tree_map_only(Tensor, lambda result: _placed(result, target, tensors), func(*args, **kwargs))


def _is_other(tensor: Tensor) -> bool:
    return _device(tensor) == OTHER


def _device(tensor: Tensor) -> torch.device:
    return OTHER if getattr(tensor, "is_elsewhere", False) else CPU


def _target(func: Callable, tensors: list[Tensor], args: list, kwargs: dict) -> tuple[torch.device, list, dict]:
    """Return the device of the results, and the arguments without it."""
    if func is Tensor.cpu:
        return CPU, args, kwargs
    target = _device(tensors[0]) if tensors else CPU
    if func is Tensor.to and len(tensors) == 2:
        target = _device(tensors[1])
    if kwargs.get("device") is not None:
        target = torch.device(kwargs.pop("device"))
    for index, value in enumerate(args):
        if isinstance(value, (torch.device, str)) and func is Tensor.to:
            target, args[index] = torch.device(value), CPU
    return target, args, kwargs


def _placed(result: Tensor, device: torch.device, inputs: list[Tensor]) -> Tensor:
    """Return a result with its device noted; it is a copy if the operation returned an input of the other device."""
    if _device(result) != device:
        result = result.clone() if any(result is tensor for tensor in inputs) else result
        result.is_elsewhere = device == OTHER
    return result
