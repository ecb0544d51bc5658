"""Faster inference: half precision, channels-last memory format, and one compiled network for many weights."""

import copy
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import UserError, first_line
from diffusion.denoiser import Denoiser
from diffusion.eager import is_eager
from models.unet import UNet

Precision = Literal["fp32", "tf32", "bf16", "fp16"]
HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
Module = TypeVar("Module", bound=nn.Module)

CAST_TO_HALF = (nn.Linear, nn.Conv2d)
MAX_PADDING = 4  # compiling for a minute is faster than many steps of a batch that is much too large
MAX_COMPILATIONS = 256  # of one network, over all devices and batch sizes


def optimize_inference(denoiser: Denoiser, precision: Precision, compiled: bool | None) -> Denoiser:
    """Return the denoiser with its network in a precision, optionally compiled; None: compiled on a GPU.

    In float32 and TF32 without compilation, the denoiser is returned unchanged. Otherwise all U-Nets of one
    architecture on one device share a network, so that the checkpoints of a job are compiled only once; a pipeline's
    network is not copied. Raises UserError if networks cannot be compiled.
    """
    allow_tf32(precision == "tf32")
    half, compiled = HALF.get(precision), should_compile(compiled, denoiser.device)
    if half is None and not compiled:
        return denoiser
    if precision == "bf16":
        note_slow_bf16(denoiser.device)
    network = denoiser.network
    assert isinstance(network, nn.Module), "only modules can be optimized"
    if not isinstance(network, UNet):
        return replace(denoiser, network=_single(network, half, compiled, denoiser.device))
    key = (str(network), str(network.config), denoiser.device, half, compiled)
    if key not in _NETWORKS:
        _NETWORKS[key] = _compile(network, half, compiled, denoiser.device)
    return replace(denoiser, network=NetworkHandle(_NETWORKS[key], network.state_dict()))


def allow_tf32(allowed: bool) -> None:
    """Set whether this process computes float32 matrix products and convolutions in TF32.

    PyTorch allows it for convolutions only by default.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


@contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Compute in TF32 if allowed, and in float32 afterwards."""
    allow_tf32(allowed)
    try:
        yield
    finally:
        allow_tf32(False)


def should_compile(option: bool | None, device: torch.device) -> bool:
    """Return whether to compile a network for a device; null: on a GPU."""
    return device.type != "cpu" if option is None else option


@functools.cache
def note_slow_bf16(device: torch.device) -> None:
    """Print a note, once per device, if the device emulates bfloat16."""
    if not _supports_bf16(device):
        print(f"note: bf16 is slow on this {device.type}, which emulates it; choose another precision=", flush=True)


def _supports_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return not capabilities or any(supported for name, supported in capabilities.items() if "bf16" in name)


@functools.cache
def check_compiler(device_type: str) -> None:
    """Raise UserError if torch.compile does not work, for example because no C++ compiler is installed."""
    try:
        torch.compile(torch.neg)(torch.zeros(8, device=device_type))
    except Exception as error:  # depends on the component that is missing: Python's headers, g++ or Triton
        raise UserError(
            f"torch.compile does not work here ({first_line(error)}); install a C++ compiler or set compile=false"
        ) from None


@dataclass
class CompiledNetwork:
    """Network on a device, shared by handles with different weights; `module` is the network or wraps it.

    If it is compiled, a batch is padded to the next compiled size, because another shape would trigger another
    compilation, unless that size is more than `MAX_PADDING` times as large. The outputs of the padding are dropped.
    """

    network: nn.Module
    module: nn.Module
    is_compiled: bool
    owner: "NetworkHandle | None" = None
    batch_sizes: set[int] = field(default_factory=set)

    def output(self, handle: "NetworkHandle", x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """Return the network's output for x_t [N, C, H, W], t [1] and labels y [N] with a handle's weights."""
        self.swap_weights(handle)
        if self.is_compiled:
            # Beyond the limit, which is 8 by default and separate for each thread, PyTorch does not compile.
            torch._dynamo.config.recompile_limit = MAX_COMPILATIONS
        count = len(x_t)
        padding = self._padding(count)
        x_t = F.pad(x_t, (0, 0, 0, 0, 0, 0, 0, padding)).contiguous(memory_format=torch.channels_last)
        y = None if y is None else F.pad(y, (0, padding))
        return self.module(x_t, t, y)[:count]

    def _padding(self, count: int) -> int:
        """Return the number of images to add to a batch; no size is recorded if it is not compiled."""
        if not self.is_compiled or is_eager():
            return 0
        if not (sizes := [size for size in self.batch_sizes if count <= size <= MAX_PADDING * count]):
            self.batch_sizes.add(count)
            return 0
        return min(sizes) - count

    def swap_weights(self, handle: "NetworkHandle") -> None:
        """Copy a handle's weights into the network, unless it already has them."""
        if self.owner is not handle:
            self.network.load_state_dict(handle.weights)
            self.owner = handle


@dataclass(eq=False)
class NetworkHandle:
    """A denoiser's network: its own weights in a shared network."""

    compiled: CompiledNetwork
    weights: dict[str, Tensor]

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.compiled.output(self, x_t, t, y)


_NETWORKS: dict[tuple, CompiledNetwork] = {}


def _compile(network: UNet, half: torch.dtype | None, compiled: bool, device: torch.device) -> CompiledNetwork:
    """Return a copy of the network, in half precision and compiled if requested."""
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if half is not None:
        network.convert_to_half(half)
    if compiled:
        _compile_in_place(network, device)
    return CompiledNetwork(network, network, compiled)


def _single(network: nn.Module, half: torch.dtype | None, compiled: bool, device: torch.device) -> "NetworkHandle":
    """Return a handle of a network that no other shares, in half precision and compiled if requested."""
    module = network if half is None else Autocast(network, half)
    if compiled:
        _compile_in_place(module, device)
    shared = CompiledNetwork(network, module, compiled)
    shared.owner = NetworkHandle(shared, {})
    return shared.owner


def _compile_in_place(module: nn.Module, device: torch.device) -> None:
    check_compiler(device.type)
    module.compile(dynamic=False)


class Autocast(nn.Module):
    """Network with its matrix products and convolutions in a half precision."""

    def __init__(self, network: nn.Module, half: torch.dtype):
        super().__init__()
        self.network, self.half_precision = network, half

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        with torch.autocast(x_t.device.type, self.half_precision):
            return self.network(x_t, t, y).float()


def copy_to(module: Module, device: torch.device, half: torch.dtype | None = None) -> Module:
    """Return a copy of a module on a device; the weights that `Autocast` would cast are stored as `half`.

    Tensors are moved one at a time, so that the whole copy never exists on the module's own device.
    """
    moved: dict[int, Any] = {}
    for layer in module.modules():
        cast = half if isinstance(layer, CAST_TO_HALF) else None
        for parameter in layer.parameters(recurse=False):
            value = parameter.detach().to(device, cast or parameter.dtype)
            moved[id(parameter)] = nn.Parameter(value, requires_grad=False)
        for buffer in layer.buffers(recurse=False):
            moved[id(buffer)] = buffer.to(device)
    return copy.deepcopy(module, moved)


def tensor_bytes(module: nn.Module, half: bool) -> int:
    """Return the memory of a module's parameters and buffers after `copy_to`, in bytes."""
    total = 0
    for layer in module.modules():
        size = 2 if half and isinstance(layer, CAST_TO_HALF) else 4
        total += size * sum(parameter.numel() for parameter in layer.parameters(recurse=False))
        total += sum(buffer.nbytes for buffer in layer.buffers(recurse=False))
    return total
