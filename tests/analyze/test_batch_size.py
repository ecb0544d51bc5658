"""As many images at once as fit."""

import pytest
import torch

from analyze.batch_size import choose_batch_size, largest_batch, on_gpus
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from models import compiled


@pytest.mark.parametrize(
    ("bytes_at_hand", "bytes_per_image", "allowed", "batch"),
    [
        (100, 1, 1000, 64),  # a power of two
        (100, 1, 50, 50),  # all that there are
        (100, 1, 100, 100),
        (127, 2, 512, 32),
        (1, 100, 512, 1),  # it may fit, and says so if not
        (1e12, 0, 512, 512),
    ],
)
def test_the_largest_batch_that_there_is_room_for(bytes_at_hand, bytes_per_image, allowed, batch):
    assert largest_batch(bytes_at_hand, bytes_per_image, allowed) == batch


@pytest.fixture
def played_gpu(monkeypatch):
    """A GPU of which 1,000 MB are free and 100 MB kept by PyTorch; a function: a network that takes 3 MB an image."""
    taken = {"now": 50_000_000, "most": 0}
    played = {
        "mem_get_info": lambda device: (1_000_000_000, 2_000_000_000),
        "memory_reserved": lambda device: taken["now"] + 100_000_000,
        "memory_allocated": lambda device: taken["now"],
        "max_memory_allocated": lambda device: taken["most"],
        "reset_peak_memory_stats": lambda device: None,
    }
    for name, answer in played.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr("analyze.batch_size._FITTING", {}, raising=False)

    def taking(network):
        def calling(x_t, t, y):
            taken["most"] = taken["now"] + 3_000_000 * len(x_t)
            return network(x_t, t, y)

        return calling

    return taking


def of(network) -> Denoiser:
    return Denoiser(network, Schedule.from_config(Diffusion()).levels, (3, 8, 8), 0.25, 4, torch.device("cpu"))


def test_on_a_gpu_its_free_memory_decides(random_unet, played_gpu):
    denoiser = of(played_gpu(random_unet(num_classes=4)))
    assert choose_batch_size(denoiser, 2048, 1) == 512  # no GPU: as many pixels as 32 images of CIFAR-10 have
    assert on_gpus(denoiser, 2048, 1) == 256  # 0.7 · 1,100 MB / 3 MB = 256.7
    assert on_gpus(denoiser, 2048, 16) == 128  # each of them a share


def test_a_network_that_fills_its_batches_up_is_not_taken_for_larger(random_unet, played_gpu, monkeypatch):
    """A shared one, of the default precision, is called with its largest batch so far whatever it is given."""
    monkeypatch.setattr(compiled, "_SHARED", {})
    for _ in range(2):  # two checkpoints
        denoiser = compiled.optimize_inference(of(random_unet(num_classes=4)), "bf16", False)
        shared = denoiser.network.shared
        shared.called = played_gpu(shared.called)
        assert on_gpus(denoiser, 2048, 1) == 256
        denoiser.output(torch.zeros(256, 3, 8, 8), 0, denoiser.labels(0, 256))
        assert on_gpus(denoiser, 2048, 1) == 256
