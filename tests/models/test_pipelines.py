"""Tests of pipelines of diffusers against its own schedulers, and of unsupported pipelines."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    CMStochasticIterativeScheduler,
    DDIMInverseScheduler,
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DModel,
)
from safetensors.torch import load_file, save_file

from configs.errors import UserError
from diffusion.denoiser import Denoiser
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models.pipeline_options import PipelineOptions
from models.pipelines import open_pipeline
from models.source import open_model

CPU = torch.device("cpu")
NOISE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ldm(pipelines) -> Denoiser:
    return open_pipeline(pipelines / "ldm_vq").denoiser


@pytest.fixture(scope="module")
def golden(pipelines) -> dict[str, torch.Tensor]:
    with np.load(pipelines / "ldm_vq_golden.npz") as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays}


def small_unet(**options) -> UNet2DModel:
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=8,
        block_out_channels=(32, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        **options,
    ).eval()


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves a small pipeline like save_pretrained and returns its folder."""

    def save(scheduler, unet=None, **autoencoder) -> Path:
        components = {"unet": unet or small_unet(), "scheduler": scheduler, **autoencoder}
        for name, component in components.items():
            component.save_pretrained(tmp_path / name)
        index = {name: ["diffusers", type(component).__name__] for name, component in components.items()}
        (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "DDPMPipeline"} | index))
        return tmp_path

    return save


def open_with_ddim(folder: Path) -> tuple[Denoiser, Ddim]:
    """Open a pipeline; return its denoiser, and DDIM with 10 steps in its timestep spacing."""
    pipeline = open_pipeline(folder)
    return pipeline.denoiser, Ddim(10, pipeline.spacing)


def test_a_latent_diffusion_model_computes_the_same_as_in_diffusers(ldm, golden, relative_error):
    assert ldm.shape == (3, 16, 16) and not ldm.clip
    assert relative_error(ldm.output(golden["x_T"], 500), golden["eps"]) < 1e-4
    torch.testing.assert_close(ldm.levels.alphas, golden["alphas_cumprod"].double().sqrt(), rtol=0, atol=0)


@pytest.mark.parametrize("ddim_steps", [10, 50])
def test_sampling_and_inversion_equal_those_of_diffusers(ddim_steps, ldm, pipelines, golden, relative_error):
    spacing = open_pipeline(pipelines / "ldm_vq").spacing
    sampling, inversion = spacing.sampling(ldm.levels, ddim_steps), spacing.inversion(ldm.levels, ddim_steps)
    ddim = Ddim(ddim_steps, spacing)
    assert [step.timestep for step in sampling] == golden[f"T{ddim_steps}_timesteps"].tolist()
    assert [step.timestep for step in inversion] == golden[f"T{ddim_steps}_inverse_timesteps"].tolist()
    x_0 = golden[f"T{ddim_steps}_x0"]
    assert relative_error(final_state(ddim.sample(ldm, golden["x_T"])), x_0) < 1e-4
    assert relative_error(final_state(ddim.invert(ldm, x_0)), golden[f"T{ddim_steps}_latent"]) < 1e-4


def test_codes_are_decoded(ldm, golden, relative_error):
    assert ldm.decode is not None
    assert relative_error(ldm.decode(golden["T10_x0"]), golden["decoded_T10"]) < 1e-4


def test_codes_are_divided_by_vae_scaling_factor(pipelines, golden, relative_error):
    scaled = open_pipeline(pipelines / "ldm_vq", PipelineOptions(vae_scaling_factor=0.5)).denoiser
    assert scaled.decode is not None
    assert relative_error(scaled.decode(0.5 * golden["T10_x0"]), golden["decoded_T10"]) < 1e-4


def test_an_autoencoder_defines_its_own_scaling_factor(saved, relative_error):
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=3, scaling_factor=0.25, shift_factor=0.1).eval()
    denoiser = open_pipeline(saved(DDIMScheduler(clip_sample=False), vae=vae)).denoiser
    with torch.no_grad():
        assert denoiser.decode is not None
        assert relative_error(denoiser.decode(NOISE), vae.decode(NOISE / 0.25 + 0.1).sample) < 1e-5


@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": True},
        {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False},
        {"clip_sample": False, "timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"},
    ],
    ids=["clipped", "offset", "trailing"],
)
def test_sampling_a_pixel_model_equals_the_loop_of_diffusers(prediction_type, options, saved, relative_error):
    """ε is recomputed from the clipped x_0: `use_clipped_model_output` in diffusers."""
    scheduler, unet = DDIMScheduler(prediction_type=prediction_type, **options), small_unet()
    denoiser, ddim = open_with_ddim(saved(scheduler, unet))
    assert denoiser.decode is None and denoiser.clip == options["clip_sample"]
    scheduler.set_timesteps(10)
    x = NOISE
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, use_clipped_model_output=options["clip_sample"]).prev_sample
    assert relative_error(final_state(ddim.sample(denoiser, NOISE)), x) < 1e-4


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_inverting_a_pixel_model_equals_the_loop_of_diffusers(prediction_type, saved, relative_error):
    options = {"prediction_type": prediction_type, "clip_sample": False}
    unet, inverse = small_unet(), DDIMInverseScheduler(**options)
    denoiser, ddim = open_with_ddim(saved(DDIMScheduler(**options), unet))
    inverse.set_timesteps(10)
    x = NOISE / 3
    with torch.no_grad():
        for t in inverse.timesteps:
            x = inverse.step(unet(x, t).sample, t, x).prev_sample
    assert relative_error(final_state(ddim.invert(denoiser, NOISE / 3)), x) < 1e-4


def test_a_clipped_model_is_inverted_at_the_timesteps_of_diffusers_but_with_other_latents(saved, relative_error):
    """DDIMInverseScheduler does not recompute ε from the clipped x_0."""
    unet, inverse = small_unet(), DDIMInverseScheduler(clip_sample=True)
    denoiser, ddim = open_with_ddim(saved(DDIMScheduler(clip_sample=True), unet))
    inverse.set_timesteps(10)
    assert [step.timestep for step in ddim.spacing.inversion(denoiser.levels, 10)] == inverse.timesteps.tolist()
    x = NOISE
    with torch.no_grad():
        for t in inverse.timesteps:
            x = inverse.step(unet(x, t).sample, t, x).prev_sample
    assert relative_error(final_state(ddim.invert(denoiser, NOISE)), x) > 1e-2


def test_a_model_that_predicts_x_0_inverts_clean_images(saved):
    denoiser, ddim = open_with_ddim(saved(DDIMScheduler(prediction_type="sample", clip_sample=False)))
    assert final_state(ddim.invert(denoiser, NOISE / 3)).isfinite().all()


def test_betas_and_clipping_come_from_the_pipelines_scheduler(saved):
    scheduler = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=500, clip_sample=False)
    denoiser = open_pipeline(saved(scheduler)).denoiser
    assert torch.equal(denoiser.levels.alphas, scheduler.alphas_cumprod.double().sqrt()) and not denoiser.clip


def test_labels_are_passed_to_the_network(saved):
    unet = small_unet(num_class_embeds=5)
    denoiser = open_pipeline(saved(DDIMScheduler(), unet)).denoiser
    y = denoiser.labels(3, 2, [4, 0, 2])
    assert denoiser.num_classes == 5 and y is not None and y.tolist() == [4, 0]
    with torch.no_grad():
        assert torch.equal(denoiser.output(NOISE, 7, y), unet(NOISE, 7, class_labels=y).sample)


def test_pipelines_without_subfolders_are_opened(saved):
    folder = saved(DDIMScheduler())
    expected = open_pipeline(folder).denoiser.output(NOISE, 7)
    for name in ("unet", "scheduler"):
        for file in (folder / name).iterdir():
            file.rename(folder / file.name)
        (folder / name).rmdir()
    assert torch.equal(open_pipeline(folder).denoiser.output(NOISE, 7), expected)


@pytest.mark.parametrize(
    "scheduler, message",
    [
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "FlowMatchEulerDiscreteScheduler has no ᾱ"),
        (CMStochasticIterativeScheduler(), "CMStochasticIterativeScheduler has no ᾱ"),
        (DDIMScheduler(thresholding=True), "limits x_0 other than"),
        (DDIMScheduler(clip_sample=True, clip_sample_range=2.0), "limits x_0 other than"),
    ],
)
def test_a_scheduler_that_ddim_cannot_use_is_rejected(scheduler, message, saved):
    with pytest.raises(UserError, match=message):
        open_pipeline(saved(scheduler))


def test_the_scheduler_of_another_sampler_is_accepted_and_does_not_clip(saved):
    scheduler = EulerDiscreteScheduler()
    denoiser = open_pipeline(saved(scheduler)).denoiser
    assert torch.equal(denoiser.levels.alphas, scheduler.alphas_cumprod.double().sqrt()) and not denoiser.clip


def test_a_pixel_model_of_flow_matching_samples_by_eulers_method(saved, relative_error):
    """The network predicts ε − x_0 at 1,000·σ, and σ falls from 1 to 0 in steps of a shifted schedule."""
    unet = small_unet()
    folder = saved(FlowMatchEulerDiscreteScheduler(shift=2.0), unet)
    pipeline = open_pipeline(folder)

    def shift(sigma: torch.Tensor) -> torch.Tensor:
        return 2 * sigma / (1 + sigma)

    smallest = shift(torch.tensor(1 / 1000)).item()
    sigmas = [*shift(torch.linspace(1, smallest, 10, dtype=torch.float64)).tolist(), 0.0]
    x = NOISE
    with torch.no_grad():
        for sigma, following in pairwise(sigmas):
            x = x + (following - sigma) * unet(x, 1000 * sigma).sample
    sampled = final_state(Ddim(10, pipeline.spacing).sample(pipeline.denoiser, NOISE))
    assert relative_error(sampled, x) < 1e-4 and relative_error(NOISE, x) > 0.1


def test_mismatched_weights_are_listed(saved):
    folder = saved(DDIMScheduler())
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["extra"] = weights.pop("conv_in.weight")
    save_file(weights, file)
    with pytest.raises(UserError, match=r"unet does not fit UNet2DModel: missing: conv_in.weight; unexpected: extra"):
        open_pipeline(folder)


@pytest.mark.parametrize("broken", ["unet", "scheduler", "model_index.json", "unet/config.json"])
def test_a_damaged_pipeline_is_rejected_with_its_path(broken, saved):
    folder = saved(DDIMScheduler())
    path = folder / broken
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("{")
    with pytest.raises(UserError, match=str(folder)):
        open_pipeline(folder)


@pytest.mark.parametrize(
    ("file", "option", "value", "message"),
    [
        ("unet/config.json", "layers_per_block", 10**9, r"config.json has layers_per_block=1000000000; at most 1,000"),
        (
            "unet/config.json",
            "block_out_channels",
            [4, 10**18],
            "config.json has block_out_channels=1000000000000000000",
        ),
        ("unet/config.json", "sample_size", float("inf"), "config.json has sample_size=inf; at most 16,384"),
        ("unet/config.json", "block_out_channels", [2**16, 2**16], r"describes [\d,]+ parameters, but its files have"),
        (
            "scheduler/scheduler_config.json",
            "num_train_timesteps",
            10**12,
            "num_train_timesteps=1000000000000; at most",
        ),
        ("scheduler/scheduler_config.json", "trained_betas", 0.5, "trained_betas is not a list of numbers"),
        ("scheduler/scheduler_config.json", "prediction_type", [], "cannot be opened as a pipeline: unhashable"),
    ],
)
def test_absurd_options_are_rejected_before_anything_is_allocated(file, option, value, message, saved):
    folder = saved(DDIMScheduler())
    (folder / file).write_text(json.dumps(json.loads((folder / file).read_text()) | {option: value}))
    with pytest.raises(UserError, match=message):
        open_model(str(folder))


def test_a_square_size_may_be_a_pair(saved):
    folder = saved(DDIMScheduler())
    config = json.loads((folder / "unet" / "config.json").read_text())
    (folder / "unet" / "config.json").write_text(json.dumps(config | {"sample_size": [8, 8]}))
    assert open_pipeline(folder).denoiser.shape == (3, 8, 8)


def test_a_pickle_with_more_than_tensors_is_rejected(saved):
    folder = saved(DDIMScheduler())
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Path("anything")}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="unet cannot be opened as UNet2DModel"):
        open_pipeline(folder)


@pytest.mark.parametrize(
    "component, kind, message",
    [
        ("unet", "UNet1DModel", "DDPMPipeline with unet UNet1DModel is not supported; supported are pipelines with"),
        ("vae", "AsymmetricAutoencoderKL", "its autoencoder AsymmetricAutoencoderKL is not supported"),
        ("scheduler", "DiffusionPipeline", 'its scheduler "DiffusionPipeline" does not exist in diffusers'),
        ("scheduler", "NoSuchScheduler", 'its scheduler "NoSuchScheduler" does not exist in diffusers'),
    ],
)
def test_unsupported_components_are_rejected(component, kind, message, saved):
    folder = saved(DDIMScheduler())
    index = json.loads((folder / "model_index.json").read_text()) | {component: ["diffusers", kind]}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        open_pipeline(folder)
