"""Pipelines of diffusers against what its own schedulers compute, and what is refused of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
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
from models.pipelines import open_pipeline, timestep_spacing

CPU = torch.device("cpu")
NOISE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ldm(pipelines) -> Denoiser:
    return open_pipeline(pipelines / "ldm_vq", None, CPU)


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
    """A function: the folder of a small pipeline with a scheduler and networks, as save_pretrained leaves it."""

    def pipeline(scheduler, unet=None, **autoencoder) -> Path:
        parts = {"unet": unet or small_unet(), "scheduler": scheduler, **autoencoder}
        for name, part in parts.items():
            part.save_pretrained(tmp_path / name)
        index = {"_class_name": "DDPMPipeline"} | {
            name: ["diffusers", type(part).__name__] for name, part in parts.items()
        }
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        return tmp_path

    return pipeline


def open_with_ddim(folder: Path) -> tuple[Denoiser, Ddim]:
    """Open a pipeline, and DDIM with 10 steps in its timestep spacing."""
    return open_pipeline(folder, None, CPU), Ddim(10, timestep_spacing(folder))


def test_a_latent_diffusion_model_is_diffusers(ldm, golden, relative_error):
    assert ldm.shape == (3, 16, 16) and not ldm.clip
    assert relative_error(ldm.output(golden["x_T"], 500), golden["eps"]) < 1e-4
    torch.testing.assert_close(ldm.levels.alphas, golden["alphas_cumprod"].double().sqrt(), rtol=0, atol=0)


@pytest.mark.parametrize("ddim_steps", [10, 50])
def test_sampling_and_inversion_are_diffusers_own(ddim_steps, ldm, pipelines, golden, relative_error):
    spacing = timestep_spacing(pipelines / "ldm_vq")
    there, back = spacing.sampling(ldm.levels, ddim_steps), spacing.inversion(ldm.levels, ddim_steps)
    ddim = Ddim(ddim_steps, spacing)
    assert [step.timestep for step in there] == golden[f"T{ddim_steps}_timesteps"].tolist()
    assert [step.timestep for step in back] == golden[f"T{ddim_steps}_inverse_timesteps"].tolist()
    x_0 = golden[f"T{ddim_steps}_x0"]
    assert relative_error(final_state(ddim.sample(ldm, golden["x_T"])), x_0) < 1e-4
    assert relative_error(final_state(ddim.invert(ldm, x_0)), golden[f"T{ddim_steps}_latent"]) < 1e-4


def test_codes_are_decoded(ldm, golden, relative_error):
    assert ldm.decode is not None
    assert relative_error(ldm.decode(golden["T10_x0"]), golden["decoded_T10"]) < 1e-4


def test_codes_are_divided_by_the_scale_that_is_asked_for(pipelines, golden, relative_error):
    scaled = open_pipeline(pipelines / "ldm_vq", 0.5, CPU)
    assert scaled.decode is not None
    assert relative_error(scaled.decode(0.5 * golden["T10_x0"]), golden["decoded_T10"]) < 1e-4


def test_an_autoencoder_knows_its_own_scale(saved, relative_error):
    torch.manual_seed(0)
    vae = AutoencoderKL(block_out_channels=(32,), latent_channels=3, scaling_factor=0.25, shift_factor=0.1).eval()
    denoiser = open_pipeline(saved(DDIMScheduler(clip_sample=False), vae=vae), None, CPU)
    with torch.no_grad():
        assert denoiser.decode is not None
        assert relative_error(denoiser.decode(NOISE), vae.decode(NOISE / 0.25 + 0.1).sample) < 1e-5


@pytest.mark.parametrize("predicted", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize(
    "options",
    [
        {"clip_sample": True},
        {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False},
        {"clip_sample": False, "timestep_spacing": "trailing", "beta_schedule": "squaredcos_cap_v2"},
    ],
    ids=["clipped", "offset", "trailing"],
)
def test_a_pixel_model_is_sampled_as_by_diffusers_loop(predicted, options, saved, relative_error):
    """ε derived again from the clipped x_0, as everywhere here: diffusers' `use_clipped_model_output`."""
    scheduler, unet = DDIMScheduler(prediction_type=predicted, **options), small_unet()
    denoiser, ddim = open_with_ddim(saved(scheduler, unet))
    assert denoiser.decode is None and denoiser.clip == options["clip_sample"]
    scheduler.set_timesteps(10)
    x = NOISE
    with torch.no_grad():
        for t in scheduler.timesteps:
            x = scheduler.step(unet(x, t).sample, t, x, use_clipped_model_output=options["clip_sample"]).prev_sample
    assert relative_error(final_state(ddim.sample(denoiser, NOISE)), x) < 1e-4


@pytest.mark.parametrize("predicted", ["epsilon", "v_prediction"])
def test_a_pixel_model_is_inverted_as_by_diffusers_loop(predicted, saved, relative_error):
    options = {"prediction_type": predicted, "clip_sample": False}
    unet, inverse = small_unet(), DDIMInverseScheduler(**options)
    denoiser, ddim = open_with_ddim(saved(DDIMScheduler(**options), unet))
    inverse.set_timesteps(10)
    x = NOISE / 3
    with torch.no_grad():
        for t in inverse.timesteps:
            x = inverse.step(unet(x, t).sample, t, x).prev_sample
    assert relative_error(final_state(ddim.invert(denoiser, NOISE / 3)), x) < 1e-4


def test_clean_images_are_inverted_by_a_model_that_predicts_them(saved):
    denoiser, ddim = open_with_ddim(saved(DDIMScheduler(prediction_type="sample", clip_sample=False)))
    assert final_state(ddim.invert(denoiser, NOISE / 3)).isfinite().all()


def test_the_schedulers_betas_and_clipping_are_the_pipelines(saved):
    own = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=500, clip_sample=False)
    denoiser = open_pipeline(saved(own), None, CPU)
    assert torch.equal(denoiser.levels.alphas, own.alphas_cumprod.double().sqrt()) and not denoiser.clip


def test_classes_reach_the_network(saved):
    unet = small_unet(num_class_embeds=5)
    denoiser = open_pipeline(saved(DDIMScheduler(), unet), None, CPU)
    y = denoiser.labels(3, 2, [4, 0, 2])
    assert denoiser.num_classes == 5 and y is not None and y.tolist() == [4, 0]
    with torch.no_grad():
        assert torch.equal(denoiser.output(NOISE, 7, y), unet(NOISE, 7, class_labels=y).sample)


def test_the_oldest_pipelines_have_their_parts_beside_the_index(saved):
    folder = saved(DDIMScheduler())
    expected = open_pipeline(folder, None, CPU).output(NOISE, 7)
    for name in ("unet", "scheduler"):
        for file in (folder / name).iterdir():
            file.rename(folder / file.name)
        (folder / name).rmdir()
    assert torch.equal(open_pipeline(folder, None, CPU).output(NOISE, 7), expected)


@pytest.mark.parametrize(
    "scheduler, told",
    [
        (FlowMatchEulerDiscreteScheduler(), "FlowMatchEulerDiscreteScheduler has no ᾱ"),
        (DDIMScheduler(thresholding=True), "limits x_0 otherwise"),
        (DDIMScheduler(clip_sample=True, clip_sample_range=2.0), "limits x_0 otherwise"),
    ],
)
def test_a_scheduler_without_what_ddim_needs_is_refused(scheduler, told, saved):
    with pytest.raises(UserError, match=told):
        open_pipeline(saved(scheduler), None, CPU)


def test_another_sampler_of_the_same_diffusion_will_do(saved):
    own = EulerDiscreteScheduler()
    assert torch.equal(open_pipeline(saved(own), None, CPU).levels.alphas, own.alphas_cumprod.double().sqrt())


def test_weights_that_do_not_fit_are_listed(saved):
    folder = saved(DDIMScheduler())
    file = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(file)
    weights["stranger"] = weights.pop("conv_in.weight")
    save_file(weights, file)
    with pytest.raises(UserError, match=r"unet does not fit UNet2DModel: conv_in.weight missing; stranger unexpected"):
        open_pipeline(folder, None, CPU)


@pytest.mark.parametrize("broken", ["unet", "scheduler", "model_index.json", "unet/config.json"])
def test_a_damaged_pipeline_is_refused_by_name(broken, saved):
    folder = saved(DDIMScheduler())
    path = folder / broken
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_text("{")
    with pytest.raises(UserError, match=str(folder)):
        open_pipeline(folder, None, CPU)


def test_a_pickle_that_holds_more_than_tensors_is_refused(saved):
    folder = saved(DDIMScheduler())
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({"conv_in.weight": Path("anything")}, folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match="unet cannot be opened as UNet2DModel"):
        open_pipeline(folder, None, CPU)


@pytest.mark.parametrize(
    "part, kind, told",
    [
        ("unet", "UNet2DConditionModel", "its unet is UNet2DConditionModel; only UNet2DModel is supported"),
        ("vae", "AsymmetricAutoencoderKL", "its autoencoder AsymmetricAutoencoderKL is not supported"),
        ("scheduler", "NoSuchScheduler", 'its scheduler "NoSuchScheduler" is none that diffusers has'),
    ],
)
def test_parts_of_other_kinds_are_refused(part, kind, told, saved):
    folder = saved(DDIMScheduler())
    index = json.loads((folder / "model_index.json").read_text()) | {part: ["diffusers", kind]}
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=told):
        open_pipeline(folder, None, CPU)
