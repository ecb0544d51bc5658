"""The same network, faster: in half precision, channels last, compiled once and reused with other weights."""

import copy
import functools
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from configs.errors import UserError, first_line
from diffusion.denoiser import Denoiser
from models.unet import UNet

Precision = Literal["fp32", "tf32", "bf16"]


def optimize_inference(denoiser: Denoiser, precision: Precision, compiled: bool) -> Denoiser:
    """The denoiser with its network in a precision, and compiled where that is asked for.

    In float32 and not compiled it is what it was. Otherwise all denoisers of one architecture on one device share a
    network, so that the checkpoints of a job cost one compilation. Raises UserError where nothing can be compiled.
    """
    allow_tf32(precision == "tf32")
    if precision != "bf16" and not compiled:
        return denoiser
    if precision == "bf16":
        note_if_slow(denoiser.device)
    network = denoiser.network
    assert isinstance(network, nn.Module), "only a module can be made faster"
    key = (str(network), str(network.config), denoiser.device, precision == "bf16", compiled)
    if key not in _SHARED:
        _SHARED[key] = _prepared(network, precision == "bf16", compiled, denoiser.device)
    return replace(denoiser, network=NetworkHandle(_SHARED[key], network.state_dict()))


def allow_tf32(allowed: bool) -> None:
    """Lets float32 matrix products and convolutions of this process be TF32, or neither of them.

    PyTorch's own default is a mixture.
    """
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    torch.backends.cudnn.allow_tf32 = allowed


@functools.cache
def note_if_slow(device: torch.device) -> None:
    """Says once that a device computes in bfloat16 by way of float32, where it does."""
    if not _computes_in_bf16(device):
        print(f"note: bf16 is slow on this {device.type}, which lacks it: see analyze.precision", flush=True)


def _computes_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return not known or any(there for name, there in known.items() if "bf16" in name)


@functools.cache
def check_compiler(device_type: str) -> None:
    """Raises UserError where torch.compile cannot work, for want of a C++ compiler, say."""
    try:
        torch.compile(torch.neg)(torch.zeros(8, device=device_type))
    except Exception as error:  # whatever fails first of Python's headers, g++ and Triton
        raise UserError(
            f"networks cannot be compiled here ({first_line(error)}); a C++ compiler is needed, or compile=false"
        ) from None


@dataclass
class Shared:
    """A network on a device that takes on the weights of whoever calls it; `called` is it, or wraps it.

    It is only ever called with as many images as in its largest batch so far: the last batch is filled up, and what
    is made of the filling is cut off, since another shape would have to be compiled anew.
    """

    network: nn.Module
    called: nn.Module
    owner: "NetworkHandle | None" = None
    images: int = 0

    def output(self, caller: "NetworkHandle", x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        self.swap_weights(caller)
        count = len(x_t)
        self.images = max(self.images, count)
        filling = self.images - count
        x_t = F.pad(x_t, (0, 0, 0, 0, 0, 0, 0, filling)).contiguous(memory_format=torch.channels_last)
        y = None if y is None else F.pad(y, (0, filling))
        return self.called(x_t, t, y)[:count]

    def swap_weights(self, caller: "NetworkHandle") -> None:
        """Copies the caller's weights, where they are not there already."""
        if self.owner is not caller:
            self.network.load_state_dict(caller.weights)
            self.owner = caller


@dataclass(eq=False)
class NetworkHandle:
    """A denoiser's network: its own weights, computed with by a shared network."""

    shared: Shared
    weights: dict[str, Tensor]

    def __call__(self, x_t: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        return self.shared.output(self, x_t, t, y)


_SHARED: dict[tuple, Shared] = {}


def _prepared(network: nn.Module, in_half: bool, compiled: bool, device: torch.device) -> Shared:
    network = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    called = network
    if in_half and isinstance(network, UNet):
        network.convert_to_half(torch.bfloat16)
    elif in_half:
        called = Autocast(network)
    if compiled:
        check_compiler(device.type)
        called.compile(dynamic=False)
    return Shared(network, called)


class Autocast(nn.Module):
    """Any network, its matrix products and convolutions in bfloat16."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x_t: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        with torch.autocast(x_t.device.type, torch.bfloat16):
            return self.network(x_t, t, y).float()
