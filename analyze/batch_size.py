"""How many images are generated at once: as many as fit, where nobody says otherwise."""

import math

import torch

from diffusion.denoiser import Denoiser

PIXELS_ON_CPU = 2**15  # 32 images of 32 × 32: twice as many are a quarter slower each, and half as many too
PIXELS_ON_GPU = 2**20  # a call of so many is long beside its launches
SHARE_OF_FREE_MEMORY = 0.7
PROBED = 8  # images

_FITTING: dict[tuple[torch.device, tuple[int, int, int]], int] = {}


def choose_batch_size(denoiser: Denoiser, images: int, devices: int) -> int:
    """The batch size for so many images on so many devices that are all like this denoiser's."""
    if denoiser.device.type == "cuda":
        return on_gpus(denoiser, images, devices)
    return max(1, PIXELS_ON_CPU // math.prod(denoiser.shape[1:]))


def on_gpus(denoiser: Denoiser, images: int, devices: int) -> int:
    """As many as there is room for, as many as fill a GPU, or each GPU's share of all images: the least of these.

    Looked at once: a process generates with one architecture, and a shared network keeps its largest batch.
    """
    key = denoiser.device, denoiser.shape
    if key not in _FITTING:
        filling = max(1, PIXELS_ON_GPU // math.prod(denoiser.shape[1:]))
        bytes_at_hand = SHARE_OF_FREE_MEMORY * _free_bytes(denoiser.device)
        _FITTING[key] = largest_batch(bytes_at_hand, _bytes_per_image(denoiser), filling)
    return min(_FITTING[key], math.ceil(images / devices))


def largest_batch(bytes_at_hand: float, bytes_per_image: float, allowed: int) -> int:
    """The largest power of two that there is room for; `allowed` if there is room for that; at least 1."""
    fitting = int(bytes_at_hand // max(bytes_per_image, 1))
    return allowed if fitting >= allowed else 2 ** int(math.log2(max(fitting, 1)))


def _free_bytes(device: torch.device) -> int:
    """What the GPU has left, with what PyTorch keeps for later use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept


@torch.no_grad()
def _bytes_per_image(denoiser: Denoiser) -> float:
    """What a call of the network takes at most for each image, as a small one shows; not compiled for it."""
    x, y = torch.zeros(PROBED, *denoiser.shape, device=denoiser.device), denoiser.labels(0, PROBED)
    torch.cuda.reset_peak_memory_stats(denoiser.device)
    before = torch.cuda.memory_allocated(denoiser.device)
    with torch.compiler.set_stance("force_eager"):
        denoiser.output(x, 0, y)
    return (torch.cuda.max_memory_allocated(denoiser.device) - before) / PROBED
