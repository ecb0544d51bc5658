"""Exported pipelines against diffusers: the same images from the same noise."""

from dataclasses import replace

import diffusers
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from configs.errors import UserError
from configs.load import load
from configs.schema import Diffusion, Model, ModelStudy
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models.export.card import WEIGHTS_FILE
from models.export.pipeline import default_weights, export_pipeline, exported_betas
from models.export.unet2d import to_unet2d
from models.open import open_checkpoint
from models.source import open_source
from models.unet import UNet
from records import checkpoint

CPU = torch.device("cpu")
ATTENTION = {"attention_resolutions": [8, 4], "num_head_channels": 8}
NETWORKS = {
    "attention": ATTENTION | {"channel_mult": [1, 2, 2], "num_res_blocks": 2},
    "no attention": {"attention_resolutions": [], "use_scale_shift_norm": False},
    "one head": {"attention_resolutions": [8, 4], "num_heads": 1},
    "gray": {"in_channels": 1, "dropout": 0.1},
    "one level": {"channel_mult": [1], "conv_resample": False},
    "guided-diffusion": ATTENTION | {"resblock_updown": True, "use_new_attention_order": True},
}
DROPPED = 3 * (128 * 9 + 1)  # weights of the learned variance in the CIFAR-10 network
PROCESSES = {
    "learned": {},
    "fixed": {"variance": "fixed_large", "schedule": "linear", "steps": 1000},
    "all steps": {"variance": "fixed_small", "rescale_timesteps": False, "steps": 200},
}


@pytest.fixture
def saved(tmp_path):
    """Return a function that writes a checkpoint of a small network in which every weight has an effect."""

    def save(diffusion: dict | None = None, **options):
        small = {"image_size": 8, "model_channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1}
        small |= {"attention_resolutions": [4], "num_heads": 2, "norm_groups": 4}
        model, process = Model(**(small | options)), Diffusion(**(diffusion or {}))
        generator = torch.Generator().manual_seed(0)
        network = UNet.from_config(model, process)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2, generator=generator)
        weights = {name: {**network.state_dict(), "out.2.bias": bias} for name, bias in _biases(network).items()}
        checkpoint.write(tmp_path / "checkpoint", 5, 0, model, process, weights)
        return tmp_path / "checkpoint"

    return save


def _biases(network: UNet) -> dict[str, Tensor]:
    """Return an output bias for each set of weights, so that they differ."""
    bias = network.out[2].bias.detach()
    return {"model": bias, "ema_0.99": bias + 0.1, "ema_0.999": bias + 0.2}


def sample_with_noisemap(source, steps: int, x_T: Tensor, y: Tensor | None = None) -> Tensor:
    denoiser = open_checkpoint(source, "ema_0.999", CPU)
    return final_state(Ddim(steps).sample(denoiser, x_T, y)).clamp(-1, 1)


@pytest.mark.parametrize("diffusion", PROCESSES.values(), ids=PROCESSES)
@pytest.mark.parametrize("model", NETWORKS.values(), ids=NETWORKS)
def test_a_pipeline_samples_the_same_images(model, diffusion, saved, tmp_path):
    source = saved(diffusion, **model)
    export_pipeline(source, tmp_path / "out")
    pipeline = diffusers.DDIMPipeline.from_pretrained(tmp_path / "out")
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        batch_size=3,
        generator=torch.Generator().manual_seed(7),
        num_inference_steps=20,
        use_clipped_model_output=True,
        output_type="pt",
    ).images
    x_T = torch.randn(3, model.get("in_channels", 3), 8, 8, generator=torch.Generator().manual_seed(7))
    expected = sample_with_noisemap(source, 20, x_T)
    assert expected.std() > 0.1
    torch.testing.assert_close(2 * images - 1, expected, rtol=0, atol=1e-4)


def test_a_class_conditional_pipeline_samples_the_same_images_of_each_class(saved, tmp_path):
    source = saved(num_classes=5)
    pipeline = diffusers.DDIMPipeline.from_pretrained(export_pipeline(source, tmp_path / "out"))
    x, y = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(7)), torch.tensor([0, 3, 4])
    expected = sample_with_noisemap(source, 20, x, y)
    pipeline.scheduler.set_timesteps(20)
    for t in pipeline.scheduler.timesteps:
        with torch.no_grad():
            eps = pipeline.unet(x, t, class_labels=y).sample
        x = pipeline.scheduler.step(eps, t, x, use_clipped_model_output=True).prev_sample
    torch.testing.assert_close(x.clamp(-1, 1), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("ddim_steps", [10, 1000])
def test_an_exported_pipeline_is_opened_as_a_source_with_the_same_images(ddim_steps, saved, tmp_path):
    source = saved()
    export_pipeline(source, tmp_path / "out")
    opened = open_source(ModelStudy(source=str(tmp_path / "out"), name="exported"))
    x_T = torch.randn(2, *opened.denoiser.shape, generator=torch.Generator().manual_seed(7))
    x_0 = final_state(Ddim(ddim_steps, opened.spacing).sample(opened.denoiser, x_T)).clamp(-1, 1)
    torch.testing.assert_close(x_0, sample_with_noisemap(source, ddim_steps, x_T), rtol=0, atol=1e-4)


@pytest.mark.parametrize("variance", ["learned_range", "fixed_large", "fixed_small"])
def test_a_step_of_ddpm_has_the_posterior_mean_and_the_variance_of_the_training(variance, saved, tmp_path):
    """Source: Ho et al. (2020), equation 7, and Nichol & Dhariwal (2021), equation 15."""
    diffusion, t = {"steps": 1000, "variance": variance}, 300
    source = saved(diffusion)
    pipeline = diffusers.DDPMPipeline.from_pretrained(export_pipeline(source, tmp_path / "out", sampler="ddpm"))
    schedule, x_t = Schedule.from_config(Diffusion(**diffusion)), torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        output = pipeline.unet(x_t, t).sample
    actual = pipeline.scheduler.step(output, t, x_t, generator=torch.Generator().manual_seed(7)).prev_sample

    denoiser = open_checkpoint(source, "ema_0.999", CPU)
    x_0 = denoiser.predict(x_t, t, denoiser.levels[t])[0].clamp(-1, 1)
    mean = schedule.posterior_mean_x_0[t] * x_0 + schedule.posterior_mean_x_t[t] * x_t
    small, large = schedule.posterior_variance[t].log(), schedule.betas[t].log()
    share = {"fixed_small": 0.0, "fixed_large": 1.0}.get(variance)
    if share is None:
        share = (denoiser.network(x_t, torch.tensor([t]), None)[:, 3:] + 1) / 2
    noise = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(7))
    expected = mean + (share * large + (1 - share) * small).mul(0.5).exp() * noise
    torch.testing.assert_close(actual, expected.float(), rtol=0, atol=1e-4)


def test_the_exported_process_has_the_steps_that_the_network_sees_at_integers():
    schedule = Schedule.from_config(Diffusion())
    alphas_cumprod = torch.cumprod(1 - exported_betas(schedule, 0.25), dim=0)
    torch.testing.assert_close(alphas_cumprod, schedule.alphas_cumprod[::4], rtol=1e-12, atol=0)
    assert torch.allclose(exported_betas(schedule, 1), schedule.betas, rtol=1e-10, atol=1e-15)


def test_the_default_weights_are_the_slowest_average(saved):
    opened = checkpoint.read(saved())
    assert default_weights(opened) == "ema_0.999"
    assert default_weights(replace(opened, digests={"model": ""})) == "model"


def test_chosen_weights_are_exported(saved, tmp_path):
    source = saved()
    for name in ("model", "ema_0.99"):
        file = export_pipeline(source, tmp_path / name, name) / WEIGHTS_FILE
        expected = checkpoint.read(source).weights(name)["out.2.bias"]
        assert torch.equal(load_file(file)["conv_out.bias"], expected[:3])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"attention_resolutions": [8, 4]}, "heads have 4 and 8 channels"),
        ({"channel_mult": [2, 2]}, "channel_mult starts with 2"),
        ({"conv_resample": False}, "conv_resample=false"),
        ({"use_fp16": True}, "use_fp16=true"),
        ({"diffusion": {"steps": 500}}, "steps=500 is not a multiple of 1,000"),
        ({"diffusion": {"steps": 2500}}, "steps=2500 is not a multiple of 1,000"),
    ],
)
def test_a_model_without_counterpart_is_refused_and_nothing_is_written(options, message, saved, tmp_path):
    source = saved(**options)
    with pytest.raises(UserError, match=message):
        export_pipeline(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("name, is_supported", [("cifar10", True), ("imagenet64", False)])
def test_the_papers_network_is_supported_if_its_attention_heads_have_one_width(name, is_supported, repository):
    experiment = load(repository / "configs" / f"{name}.yaml")
    with torch.device("meta"):
        network = UNet.from_config(experiment.model, experiment.diffusion)
        if is_supported:
            assert to_unet2d(network, 3).num_parameters() == sum(p.numel() for p in network.parameters()) - DROPPED
        else:
            with pytest.raises(UserError, match="heads have 96 and 128 channels"):
                to_unet2d(network, 3)


def test_an_existing_folder_is_not_overwritten(saved, tmp_path):
    with pytest.raises(UserError, match="already exists"):
        export_pipeline(saved(), tmp_path)


def test_missing_weights_are_refused(saved, tmp_path):
    with pytest.raises(UserError, match=r'no weights "ema_0\.5", only model'):
        export_pipeline(saved(), tmp_path / "out", "ema_0.5")
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_nothing_behind(saved, tmp_path, monkeypatch):
    source = saved()
    monkeypatch.setattr(diffusers.UNet2DModel, "save_pretrained", _fail)
    with pytest.raises(OSError, match="disk full"):
        export_pipeline(source, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_another_output_of_diffusers_is_detected(saved, tmp_path, monkeypatch):
    source, attention = saved(), diffusers.models.attention_processor.Attention
    monkeypatch.setattr(attention, "forward", lambda self, hidden_states, **_: hidden_states)
    with pytest.raises(UserError, match="computes another output"):
        export_pipeline(source, tmp_path / "out")


def _fail(*_, **__):
    raise OSError("disk full")
