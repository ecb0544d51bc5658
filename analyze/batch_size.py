"""Default batch size of generation: as large as the memory and the speed of a device allow."""

import math

import torch

from diffusion.denoiser import Denoiser
from diffusion.eager import eager

PIXELS_ON_CPU = 2**15  # 32 images of 32 × 32; half or twice as many take a quarter longer per image
PIXELS_ON_GPU = 2**20  # enough for the GPU's work to outweigh kernel launches
MEMORY_FRACTION = 0.7  # of the free GPU memory
PROBE_IMAGES = 8

_MAX_BATCH_SIZES: dict[tuple[torch.device, tuple[int, int, int]], int] = {}


def choose_batch_size(denoiser: Denoiser, images: int, devices: int) -> int:
    """Return the batch size for a number of images on a number of devices of the denoiser's type."""
    if denoiser.device.type == "cuda":
        return gpu_batch_size(denoiser, images, devices)
    return max(1, PIXELS_ON_CPU // math.prod(denoiser.shape[1:]))


def gpu_batch_size(denoiser: Denoiser, images: int, devices: int) -> int:
    """Return the minimum of the largest batch that fits, the batch that saturates a GPU, and a GPU's share of images.

    The largest batch that fits is measured once per process, because every size of a compiled network is compiled.
    """
    key = denoiser.device, denoiser.shape
    if key not in _MAX_BATCH_SIZES:
        saturating = max(1, PIXELS_ON_GPU // math.prod(denoiser.shape[1:]))
        available_bytes = MEMORY_FRACTION * _free_bytes(denoiser.device)
        _MAX_BATCH_SIZES[key] = largest_batch(available_bytes, _bytes_per_image(denoiser), saturating)
    return min(_MAX_BATCH_SIZES[key], math.ceil(images / devices))


def largest_batch(available_bytes: float, bytes_per_image: float, limit: int) -> int:
    """Return `limit` if it fits into the memory, otherwise the largest power of two that fits, at least 1."""
    fitting = int(available_bytes // max(bytes_per_image, 1))
    return limit if fitting >= limit else 2 ** int(math.log2(max(fitting, 1)))


def _free_bytes(device: torch.device) -> int:
    """Return the GPU's free memory, including PyTorch's cache."""
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + cached


@torch.no_grad()
def _bytes_per_image(denoiser: Denoiser) -> float:
    """Return the peak memory per image of a small batch, in eager mode to avoid a compilation for its size."""
    x, y = torch.zeros(PROBE_IMAGES, *denoiser.shape, device=denoiser.device), denoiser.labels(0, PROBE_IMAGES)
    torch.cuda.reset_peak_memory_stats(denoiser.device)
    before = torch.cuda.memory_allocated(denoiser.device)
    with eager():
        denoiser.output(x, 0, y)
    return (torch.cuda.max_memory_allocated(denoiser.device) - before) / PROBE_IMAGES
