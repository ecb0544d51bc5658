"""The memory of a GPU: batches that fit although little is free, and errors that name the option."""

import pytest
import torch
from accelerate.state import AcceleratorState

from analyze.batch_size import MEMORY_FRACTION, PIXELS_ON_GPU, _bytes_per_image, gpu_batch_size
from analyze.generate import sample
from configs.errors import UserError
from configs.schema import Analyze, Diffusion
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from models import compiled
from models.compiled import optimize_inference
from train.trainer import train

pytestmark = pytest.mark.gpu
FITTING_IMAGES = 100


@pytest.fixture
def denoiser(gpu, random_unet, monkeypatch) -> Denoiser:
    """A network for images of 64 × 64 pixels; its batch size has not been measured."""
    monkeypatch.setattr("analyze.batch_size._MAX_BATCH_SIZES", {})
    monkeypatch.setattr(compiled, "_NETWORKS", {})
    network = random_unet(image_size=64, model_channels=64, attention_resolutions=[32]).to(gpu)
    return Denoiser(network, Schedule.from_config(Diffusion()).levels, (3, 64, 64), 0.25, None, gpu)


@pytest.fixture
def limit_memory(gpu):
    """Return a function that limits the memory of this process to that in use and some bytes more."""

    def limit(additional_bytes: float) -> None:
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(gpu).total_memory
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(gpu) + additional_bytes) / total, gpu)

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0, gpu)
    torch.cuda.empty_cache()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_measured_batch_fits_although_little_memory_is_free(precision, denoiser, gpu):
    """All memory is in use, except for what a batch that is smaller than the largest one needs."""
    denoiser = optimize_inference(denoiser, precision, False)
    needed_bytes = _bytes_per_image(denoiser) * FITTING_IMAGES / MEMORY_FRACTION
    torch.cuda.empty_cache()
    in_use = torch.empty(int(torch.cuda.mem_get_info(gpu)[0] - needed_bytes), dtype=torch.uint8, device=gpu)
    batch_size = gpu_batch_size(denoiser, 10_000, 1)
    assert FITTING_IMAGES / 4 < batch_size <= FITTING_IMAGES < PIXELS_ON_GPU // 64**2
    noise = fixed_noise(denoiser.shape, batch_size, 0)
    assert sample([denoiser], Ddim(4), noise, Analyze(ddim_steps=4)).isfinite().all()
    del in_use


def test_generation_without_enough_memory_names_the_option(denoiser, limit_memory):
    limit_memory(_bytes_per_image(denoiser) * 50)
    noise, options = fixed_noise(denoiser.shape, 200, 0), Analyze(ddim_steps=4, batch_size=200)
    with pytest.raises(
        UserError, match=r"memory of cuda:0 is too small for .* 200 images; set analyze\.batch_size=100"
    ):
        sample([denoiser], Ddim(4), noise, options)


def test_training_without_enough_memory_names_the_option(limit_memory, tiny):
    AcceleratorState._reset_state()
    limit_memory(50e6)
    with pytest.raises(UserError, match=r"images at once; set train\.gradient_accumulation_steps=2 or more"):
        train(tiny("model.image_size=64", "model.model_channels=64", "train.batch_size=64"))
