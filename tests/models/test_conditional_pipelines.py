"""Tests of pipelines with classes, prompts and guidance against those of diffusers, and of their exact inverses."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_pipelines import SIZE, tiny_pipeline

from configs.errors import UserError
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.fixed_point import FixedPoint
from diffusion.solvers.newton_krylov import NewtonKrylov
from diffusion.solvers.solver import final_state
from models.networks import pack, unpack
from models.pipeline_options import PipelineOptions
from models.pipelines import Pipeline, open_pipeline
from models.source import add_call_hook

STEPS = 5
PROMPTS = ("a cat", "two dogs", "rain")
NOISE = torch.randn(3, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
KINDS: dict[str, dict[str, Any]] = {
    "dit": {},
    "stable_diffusion": {},
    "stable_diffusion v": {"scheduler": {"prediction_type": "v_prediction"}},
    "stable_diffusion v, zero terminal SNR": {
        "scheduler": {
            "prediction_type": "v_prediction",
            "rescale_betas_zero_snr": True,
            "timestep_spacing": "trailing",
            "steps_offset": 0,
        }
    },
    "stable_diffusion_xl": {},
    "stable_diffusion_3": {},
    "stable_diffusion_3 dynamic shift": {"scheduler": {"use_dynamic_shifting": True}},
    "flux": {},
    "flux distilled": {"network": {"guidance_embeds": True}},
}


@pytest.fixture(scope="module")
def pipelines_of_diffusers(tmp_path_factory) -> dict[str, tuple[Any, Path]]:
    """Pipelines of each kind with the folders that they are saved in."""
    saved = {}
    for name, options in KINDS.items():
        pipeline, folder = tiny_pipeline(name.split()[0], **options), tmp_path_factory.mktemp("pipeline")
        pipeline.save_pretrained(folder)
        saved[name] = pipeline, folder
    return saved


def options_of(name: str, guidance: float = 1.0, negative_prompt: str | None = None) -> PipelineOptions:
    if name == "dit":
        return PipelineOptions(guidance=guidance)
    return PipelineOptions(PROMPTS, negative_prompt, guidance, latent_size=SIZE if "flux" in name else None)


def sample_with_diffusers(name: str, pipeline: Any, options: PipelineOptions, monkeypatch: Any) -> torch.Tensor:
    """Return the latent codes that the pipeline itself generates from NOISE."""
    if name == "dit":
        return _sample_dit(pipeline, options.guidance, monkeypatch)
    call = {"prompt": list(PROMPTS), "num_inference_steps": STEPS, "height": SIZE, "width": SIZE}
    negative = None if options.negative_prompt is None else [options.negative_prompt] * len(PROMPTS)
    if "flux" not in name:
        guided = {"guidance_scale": options.guidance, "negative_prompt": negative}
        return pipeline(**call, **guided, latents=NOISE, output_type="latent").images
    scale = "guidance_scale" if "distilled" in name else "true_cfg_scale"
    guided = {scale: options.guidance, "negative_prompt": negative or [""] * len(PROMPTS)}
    if "distilled" in name:
        del guided["negative_prompt"]
    return unpack(pipeline(**call, **guided, latents=pack(NOISE), output_type="latent").images, SIZE // 2, SIZE // 2)


def _sample_dit(pipeline: Any, guidance: float, monkeypatch: Any) -> torch.Tensor:
    """DiTPipeline draws its own noise and returns images only, so its noise and decoder are replaced."""
    codes = []

    class Vae:
        config = pipeline.vae.config

        def decode(self, scaled: torch.Tensor) -> Any:
            codes.append(scaled * self.config.scaling_factor)
            return pipeline_vae.decode(scaled)

    pipeline_vae = pipeline.vae
    monkeypatch.setattr("diffusers.pipelines.dit.pipeline_dit.randn_tensor", lambda *args, **kwargs: NOISE)
    monkeypatch.setattr(pipeline, "vae", Vae())
    pipeline([0, 1, 2], guidance_scale=guidance, num_inference_steps=STEPS, output_type="pt")
    return codes[0]


def sample(pipeline: Pipeline) -> torch.Tensor:
    denoiser = pipeline.denoiser
    return final_state(Ddim(STEPS, pipeline.spacing).sample(denoiser, NOISE, denoiser.labels(0, len(NOISE))))


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", KINDS)
def test_sampling_equals_the_pipelines_own(name, guidance, pipelines_of_diffusers, relative_error, monkeypatch):
    pipeline, folder = pipelines_of_diffusers[name]
    options = options_of(name, guidance)
    expected = sample_with_diffusers(name, pipeline, options, monkeypatch)
    assert relative_error(sample(open_pipeline(folder, options)), expected) < 1e-4


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("dit", "flux distilled")])
def test_the_negative_prompt_guides(name, pipelines_of_diffusers, relative_error, monkeypatch):
    pipeline, folder = pipelines_of_diffusers[name]
    options = options_of(name, 3.0, "ugly")
    sampled = sample(open_pipeline(folder, options))
    assert relative_error(sampled, sample_with_diffusers(name, pipeline, options, monkeypatch)) < 1e-4
    assert relative_error(sampled, sample(open_pipeline(folder, options_of(name, 3.0)))) > 1e-3


@pytest.mark.parametrize("guidance", [1.0, 3.0])
@pytest.mark.parametrize("name", KINDS)
def test_exact_inverters_return_to_the_noise(name, guidance, pipelines_of_diffusers, relative_error):
    opened = open_pipeline(pipelines_of_diffusers[name][1], options_of(name, guidance))
    x_0, y = sample(opened), opened.denoiser.labels(0, len(NOISE))
    for inverter in (FixedPoint(STEPS, opened.spacing, rounds=20), Anderson(STEPS, opened.spacing, rounds=12)):
        assert relative_error(final_state(inverter.invert(opened.denoiser, x_0, y)), NOISE) < 1e-4
    naive = final_state(Ddim(STEPS, opened.spacing).invert(opened.denoiser, x_0, y))
    assert relative_error(naive, NOISE) > 1e-3


@pytest.mark.parametrize("name", ["stable_diffusion", "flux"])
def test_newton_krylov_differentiates_all_layers(name, pipelines_of_diffusers, relative_error):
    opened = open_pipeline(pipelines_of_diffusers[name][1], options_of(name, 1.0))
    x_0, y = sample(opened), opened.denoiser.labels(0, len(NOISE))
    inverter = NewtonKrylov(STEPS, opened.spacing, newton_steps=3, krylov_steps=5)
    assert relative_error(final_state(inverter.invert(opened.denoiser, x_0, y)), NOISE) < 1e-4


@pytest.mark.parametrize(("guidance", "evaluations"), [(1.0, 1), (3.0, 2)])
@pytest.mark.parametrize("name", ["dit", "stable_diffusion", "flux", "flux distilled"])
def test_guidance_counts_as_two_evaluations(name, guidance, evaluations, pipelines_of_diffusers):
    """A guidance-distilled network gets the guidance as an input and is evaluated once."""
    opened = open_pipeline(pipelines_of_diffusers[name][1], options_of(name, guidance))
    counted: list[int] = []
    denoiser, forward_passes = add_call_hook(opened.denoiser, counted.append), []
    opened.denoiser.network.network.register_forward_pre_hook(lambda *_: forward_passes.append(1))
    denoiser.output(NOISE, 500.0, denoiser.labels(0, len(NOISE)))
    expected = 1 if name == "flux distilled" else evaluations
    assert len(forward_passes) == expected and sum(counted) == expected * len(NOISE)


def test_image_i_has_prompt_i_modulo_their_number(pipelines_of_diffusers):
    folder = pipelines_of_diffusers["stable_diffusion"][1]
    denoiser = open_pipeline(folder, options_of("stable_diffusion")).denoiser
    assert denoiser.num_classes == 3 and denoiser.labels(2, 4).tolist() == [2, 0, 1, 2]
    one = open_pipeline(folder, PipelineOptions(PROMPTS[1:2])).denoiser
    both = denoiser.output(NOISE[:2], 500, torch.tensor([0, 1])), one.output(NOISE[:2], 500, torch.tensor([0, 0]))
    torch.testing.assert_close(both[0][1], both[1][1])
    assert (both[0][0] - both[1][0]).abs().max() > 1e-4


def test_many_prompts_are_embedded_in_batches(pipelines_of_diffusers, monkeypatch):
    folder = pipelines_of_diffusers["stable_diffusion_3"][1]
    expected = open_pipeline(folder, options_of("stable_diffusion_3", 2.0)).denoiser.network
    monkeypatch.setattr("models.text.PROMPTS_PER_BATCH", 2)
    network = open_pipeline(folder, options_of("stable_diffusion_3", 2.0)).denoiser.network
    assert len(network.tokens) == len(network.pooled) == 4
    torch.testing.assert_close(network.tokens, expected.tokens)
    torch.testing.assert_close(network.pooled, expected.pooled)


@pytest.mark.parametrize("name", ["stable_diffusion", "flux"])
def test_a_long_prompt_is_cut_with_a_warning(name, pipelines_of_diffusers, capsys):
    """A letter is a token here; two more mark the ends."""
    folder = pipelines_of_diffusers[name][1]
    open_pipeline(folder, PipelineOptions(("a" * 14, "b" * 18)))
    assert "1 of 2 prompts have more than 16 tokens, the longest 20; the first text" in capsys.readouterr().err
    open_pipeline(folder, PipelineOptions(("a" * 14,)))
    assert capsys.readouterr().err == ""


def test_stable_diffusion_3_opens_without_its_largest_text_encoder(tmp_path, relative_error, monkeypatch):
    pipeline = tiny_pipeline("stable_diffusion_3")
    pipeline.register_modules(text_encoder_3=None, tokenizer_3=None)
    pipeline.save_pretrained(tmp_path)
    options = options_of("stable_diffusion_3")
    expected = sample_with_diffusers("stable_diffusion_3", pipeline, options, monkeypatch)
    assert relative_error(sample(open_pipeline(tmp_path, options)), expected) < 1e-4


def test_the_latent_size_can_be_chosen(pipelines_of_diffusers, relative_error):
    """Stable Diffusion XL is conditioned on the size of its images."""
    pipeline, folder = pipelines_of_diffusers["stable_diffusion_xl"]
    noise = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    expected = pipeline(
        "a cat", num_inference_steps=STEPS, height=16, width=16, guidance_scale=1, latents=noise, output_type="latent"
    ).images
    opened = open_pipeline(folder, PipelineOptions(("a cat",), latent_size=16))
    assert opened.denoiser.shape == (4, 16, 16)
    sampled = final_state(Ddim(STEPS, opened.spacing).sample(opened.denoiser, noise, torch.tensor([0])))
    assert relative_error(sampled, expected) < 1e-4


@pytest.mark.parametrize("name", ["stable_diffusion_xl", "stable_diffusion_3"])
def test_codes_are_decoded_like_in_the_pipeline(name, pipelines_of_diffusers, relative_error):
    pipeline, folder = pipelines_of_diffusers[name]
    call = {"num_inference_steps": 2, "height": SIZE, "width": SIZE, "guidance_scale": 1.0, "latents": NOISE[:1]}
    images = pipeline("a cat", output_type="pt", **call).images
    codes = pipeline("a cat", output_type="latent", **call).images
    decoded = open_pipeline(folder, options_of(name)).denoiser.decode(codes)
    assert relative_error((decoded / 2 + 0.5).clamp(0, 1), images) < 1e-4


def test_half_precision_stores_weights_in_bfloat16(pipelines_of_diffusers):
    opened = open_pipeline(pipelines_of_diffusers["stable_diffusion"][1], options_of("stable_diffusion"))
    network = opened.load_denoiser(torch.device("cpu"), half=torch.bfloat16).network
    types = {name: weight.dtype for name, weight in network.named_parameters()}
    assert types["network.conv_in.weight"] == torch.bfloat16
    assert {kind for name, kind in types.items() if "norm" in name} == {torch.float32}
    assert {weight.dtype for weight in opened.denoiser.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("stable_diffusion", PipelineOptions(), "generates images from text; set prompts= or prompts_file="),
        ("stable_diffusion", PipelineOptions(PROMPTS, "ugly"), "negative_prompt has no effect"),
        ("flux distilled", PipelineOptions(PROMPTS, "ugly", 3.0, SIZE), "negative_prompt has no effect"),
        ("flux", PipelineOptions(PROMPTS, latent_size=7), "latent_size=7 is not divisible by .* patches, 2"),
        ("dit", PipelineOptions(PROMPTS), "does not generate images from text; remove prompts"),
        ("dit", PipelineOptions(latent_size=16), "size of its images is fixed"),
    ],
)
def test_options_that_do_not_apply_are_rejected(name, options, message, pipelines_of_diffusers):
    with pytest.raises(UserError, match=message):
        open_pipeline(pipelines_of_diffusers[name][1], options)


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("stable_diffusion", {"in_channels": 9}, "has inputs other than x_t"),
        ("stable_diffusion", {"time_cond_proj_dim": 8}, "is a consistency model"),
        ("stable_diffusion", {"num_class_embeds": 3}, "has conditions other than the prompt"),
    ],
)
def test_networks_with_other_inputs_are_rejected(name, network, message, tmp_path):
    tiny_pipeline(name, network=network).save_pretrained(tmp_path)
    with pytest.raises(UserError, match=message):
        open_pipeline(tmp_path, options_of(name))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"_class_name": "KandinskyV22Pipeline"},
            "KandinskyV22Pipeline with unet UNet2DConditionModel is not supported",
        ),
        ({"vae": [None, None]}, "its autoencoder is missing"),
        ({"text_encoder": ["transformers", "NoSuchModel"]}, "the text encoders in .* cannot be opened"),
    ],
)
def test_unsupported_pipelines_are_rejected(change, message, tmp_path):
    tiny_pipeline("stable_diffusion").save_pretrained(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text()) | change
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        open_pipeline(tmp_path, options_of("stable_diffusion"))
