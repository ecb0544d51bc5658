"""Tests of the default batch size."""

import pytest
import torch

from analyze.batch_size import _bytes_per_image, choose_batch_size, gpu_batch_size, largest_batch
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from models import compiled
from models.compiled import optimize_inference


@pytest.mark.parametrize(
    ("available_bytes", "bytes_per_image", "limit", "batch_size"),
    [
        (100, 1, 1000, 64),  # a power of two
        (100, 1, 50, 50),  # the limit
        (100, 1, 100, 100),
        (127, 2, 512, 32),
        (1, 100, 512, 1),  # a single image is tried even if it does not seem to fit
        (1e12, 0, 512, 512),
    ],
)
def test_largest_batch_that_fits(available_bytes, bytes_per_image, limit, batch_size):
    assert largest_batch(available_bytes, bytes_per_image, limit) == batch_size


@pytest.fixture
def simulated_gpu(monkeypatch):
    """Simulate 1,000 MB of free GPU memory and 100 MB in PyTorch's cache.

    Return a function that wraps a network so that it allocates 3 MB per image.
    """
    allocated = {"current": 50_000_000, "peak": 0}
    functions = {
        "mem_get_info": lambda device: (1_000_000_000, 2_000_000_000),
        "memory_reserved": lambda device: allocated["current"] + 100_000_000,
        "memory_allocated": lambda device: allocated["current"],
        "max_memory_allocated": lambda device: allocated["peak"],
        "reset_peak_memory_stats": lambda device: None,
    }
    for name, function in functions.items():
        monkeypatch.setattr(torch.cuda, name, function)
    monkeypatch.setattr("analyze.batch_size._MAX_BATCH_SIZES", {})

    def wrap(network):
        def call(x_t, t, y):
            allocated["peak"] = allocated["current"] + 3_000_000 * len(x_t)
            return network(x_t, t, y)

        return call

    return wrap


def as_denoiser(network) -> Denoiser:
    return Denoiser(network, Schedule.from_config(Diffusion()).levels, (3, 8, 8), 0.25, 4, torch.device("cpu"))


def test_free_memory_determines_the_batch_size_on_a_gpu(random_unet, simulated_gpu):
    denoiser = as_denoiser(simulated_gpu(random_unet(num_classes=4)))
    assert choose_batch_size(denoiser, 2048, 1) == 512  # on the CPU: as many pixels as 32 CIFAR-10 images
    assert gpu_batch_size(denoiser, 2048, 1) == 256  # 0.7 · 1,100 MB / 3 MB = 256.7
    assert gpu_batch_size(denoiser, 2048, 16) == 128  # a sixteenth of the images


def test_padding_does_not_change_the_batch_size(random_unet, simulated_gpu, monkeypatch):
    """A shared network, as in the default precision, pads every batch to its largest one."""
    monkeypatch.setattr(compiled, "_NETWORKS", {})
    for _ in range(2):  # two checkpoints
        denoiser = compiled.optimize_inference(as_denoiser(random_unet(num_classes=4)), "bf16", False)
        network = denoiser.network.compiled
        network.module = simulated_gpu(network.module)
        assert gpu_batch_size(denoiser, 2048, 1) == 256
        denoiser.output(torch.zeros(256, 3, 8, 8), 0, denoiser.labels(0, 256))
        assert gpu_batch_size(denoiser, 2048, 1) == 256


def test_the_probe_of_the_memory_is_not_taken_for_a_compiled_batch(random_unet, monkeypatch):
    for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda _: 0)
    levels = Schedule.from_config(Diffusion()).levels
    plain = Denoiser(random_unet(), levels, (3, 8, 8), 0.25, None, torch.device("cpu"))
    denoiser = optimize_inference(plain, "bf16", False)
    denoiser.network.compiled.is_compiled = True  # only its wrapper believes so
    assert _bytes_per_image(denoiser) == 0
    assert denoiser.network.compiled.batch_sizes == set()
