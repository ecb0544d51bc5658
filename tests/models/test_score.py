"""Tests of score models of diffusers against Euler's method for the probability flow ODE."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, ScoreSdeVePipeline, ScoreSdeVeScheduler, UNet2DModel

from configs.errors import UserError
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models.flops import evaluation_flop
from models.pipeline_options import PipelineOptions
from models.pipelines import open_pipeline

STEPS, TRAINING_STEPS, SIGMA_MIN, SIGMA_MAX = 20, 100, 0.01, 50.0
NOISE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def network() -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        time_embedding_type="fourier",
        down_block_types=("SkipDownBlock2D", "AttnSkipDownBlock2D"),
        up_block_types=("AttnSkipUpBlock2D", "SkipUpBlock2D"),
    ).requires_grad_(False)


@pytest.fixture
def folder(network, tmp_path) -> Path:
    scheduler = ScoreSdeVeScheduler(num_train_timesteps=TRAINING_STEPS, sigma_min=SIGMA_MIN, sigma_max=SIGMA_MAX)
    ScoreSdeVePipeline(network, scheduler).save_pretrained(tmp_path)
    return tmp_path


def euler(network: UNet2DModel, noise: torch.Tensor) -> torch.Tensor:
    """Integrate dx/dσ = −σ·score from noise to image, for pixels from 0 to 1, and return pixels from −1 to 1."""
    timesteps = range(TRAINING_STEPS - TRAINING_STEPS // STEPS, -1, -(TRAINING_STEPS // STEPS))
    sigmas = [SIGMA_MIN * (SIGMA_MAX / SIGMA_MIN) ** (t / (TRAINING_STEPS - 1)) for t in timesteps]
    x = 0.5 + 0.5 * noise.double() * (1 + 4 * sigmas[0] ** 2) ** 0.5
    for sigma, end in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        score = network(x.float(), torch.full((len(x),), sigma)).sample.double()
        x = x - (end - sigma) * sigma * score
    return 2 * x - 1


def test_sampling_is_eulers_method_and_is_inverted(folder, network, relative_error):
    pipeline = open_pipeline(folder)
    denoiser, spacing = pipeline.denoiser, pipeline.spacing
    images = final_state(Ddim(STEPS, spacing).sample(denoiser, NOISE))
    assert relative_error(images, euler(network, NOISE)) < 1e-3
    latents = final_state(Anderson(STEPS, spacing, rounds=20).invert(denoiser, images))
    assert relative_error(latents, NOISE) < 1e-2
    assert evaluation_flop(denoiser) > 1e5


def test_other_schedulers_and_prompts_are_rejected(folder):
    with pytest.raises(UserError, match="does not generate images from text"):
        open_pipeline(folder, PipelineOptions(("a cat",)))
    DDIMScheduler().save_pretrained(folder / "scheduler")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"scheduler": ["diffusers", "DDIMScheduler"]}))
    with pytest.raises(UserError, match="its scheduler is DDIMScheduler; only ScoreSdeVeScheduler is supported"):
        open_pipeline(folder)
