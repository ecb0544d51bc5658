"""Tests that OpenAI's files, opened by name or from their tensors alone, compute the same as in the original code."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from configs.schema import Model, OpenAI
from diffusion.solvers.ddim import Ddim
from models.openai import describe, open_openai
from models.openai_presets import PRESETS
from models.unet import UNet

CPU = torch.device("cpu")
OPTIONS = [field.name for field in dataclasses.fields(OpenAI) if field.name != "preset"]
COSINE_4000 = {"schedule": "cosine", "steps": 4000}
# Options of each reference that are neither determined by its tensors nor defaults.
REFERENCE_OPTIONS = {
    "unet32": OpenAI(**COSINE_4000),
    "unet64": OpenAI(num_heads=1),
    "trained32": OpenAI(**COSINE_4000),
    "guided16": OpenAI(image_size=16, num_head_channels=16, schedule="cosine"),
    "guided16_means": OpenAI(image_size=16),
}


@pytest.fixture
def saved(tmp_path, request):
    """Return a function that saves the state dict of a reference, after applying a function to each tensor."""

    def save(name: str, transform=lambda tensor: tensor) -> Path:
        weights = request.getfixturevalue(name).network.state_dict()
        torch.save({key: transform(tensor) for key, tensor in weights.items()}, tmp_path / "model000500.pt")
        return tmp_path / "model000500.pt"

    return save


def meta_weights(preset: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a published file, without values."""
    with torch.device("meta"):
        return UNet.from_config(PRESETS[preset].model, PRESETS[preset].diffusion).state_dict()


CIFAR_10, GUIDED_64, GUIDED_256 = (
    meta_weights(name) for name in ("cifar10_uncond_50M_500K", "64x64_diffusion", "256x256_diffusion")
)


@pytest.mark.parametrize("name", ["unet32", "unet64", "guided16", "guided16_means"])
def test_inferred_networks_compute_the_same_as_the_original_code(name, saved, request, relative_error):
    reference = request.getfixturevalue(name)
    denoiser, description = open_openai(saved(name), REFERENCE_OPTIONS[name], CPU)
    assert replace(description.model, dropout=reference.network.config.dropout) == reference.network.config
    output = denoiser.network(reference["unet_x"], reference["unet_t"], reference.labels("unet_y"))
    assert relative_error(output, reference["unet_out"]) < 1e-5
    assert torch.equal(denoiser.levels.alphas, reference.schedule.levels.alphas)
    assert denoiser.shape == reference["unet_x"].shape[1:] and denoiser.num_classes == description.model.num_classes


def test_a_trained_network_samples_like_the_original_code(saved, trained32, relative_error):
    denoiser, _ = open_openai(saved("trained32"), REFERENCE_OPTIONS["trained32"], CPU)
    trajectory = torch.stack(list(Ddim(10, clip=True).sample(denoiser, trained32["x_T"])))
    assert relative_error(trajectory, trained32["ddim10_clip_trajectory"]) < 1e-4


@pytest.mark.parametrize("name", PRESETS)
def test_published_files_are_opened_by_name_and_from_tensors(name):
    preset, weights = PRESETS[name], meta_weights(name)
    by_name = describe(weights, Path(f"{name}.pt"), OpenAI())
    assert (by_name.model, by_name.diffusion) == (preset.model, preset.diffusion)
    assert by_name.options["defaults"] == by_name.options["options"] == {}
    values = dataclasses.asdict(preset.model) | dataclasses.asdict(preset.diffusion)
    options = {option: values[option] for option in OPTIONS if option not in ("image_size", "variance")}
    from_tensors = describe(weights, Path("model.pt"), OpenAI(**options))
    assert (from_tensors.model, from_tensors.diffusion) == (preset.model, preset.diffusion)
    assert from_tensors.options["defaults"].keys() <= {"image_size", "num_head_channels"}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("cifar10_uncond_50M_500K", 52_546_438),
        ("imagenet64_uncond_100M_1500K", 121_063_942),
        ("imagenet64_cond_270M_250K", 273_049_350),
        ("64x64_diffusion", 295_904_454),
        ("256x256_diffusion", 553_838_086),
        ("256x256_diffusion_uncond", 552_814_086),
    ],
)
def test_published_networks_have_the_original_number_of_parameters(name, parameters):
    """Expected numbers: networks created by the projects' own scripts with the flags of their READMEs."""
    assert sum(tensor.numel() for tensor in meta_weights(name).values()) == parameters


def test_a_preset_applies_to_a_file_with_another_name():
    weights = meta_weights("256x256_diffusion_uncond")
    description = describe(weights, Path("copy.pt"), OpenAI(preset="256x256_diffusion_uncond"))
    assert description.model == PRESETS["256x256_diffusion_uncond"].model


def test_options_take_precedence_over_the_preset():
    options = OpenAI(image_size=128, num_heads=2, use_fp16=False, steps=500)
    description = describe(meta_weights("256x256_diffusion"), Path("256x256_diffusion.pt"), options)
    changed = {"image_size": 128, "num_heads": 2, "num_head_channels": None, "use_fp16": False}
    changed["attention_resolutions"] = [16, 8, 4]
    assert description.model == replace(PRESETS["256x256_diffusion"].model, **changed)
    assert description.diffusion == replace(PRESETS["256x256_diffusion"].diffusion, steps=500)


def test_the_description_lists_the_source_of_each_option():
    lines = describe(CIFAR_10, Path("cifar10_uncond_50M_500K.pt"), OpenAI(steps=1000)).lines
    assert [line.split(":")[0] for line in lines] == [
        "inferred from tensors",
        "options",
        "preset cifar10_uncond_50M_500K",
    ]
    assert "options: steps=1000" in lines and "model_channels=128" in lines[0]
    lines = describe(CIFAR_10, Path("x.pt"), OpenAI(preset="none", num_heads=8)).lines
    assert lines[1] == "options: num_heads=8"
    assert lines[2].startswith("defaults: ") and "schedule=linear" in lines[2] and "image_size=32" in lines[2]


def test_half_precision_weights_are_computed_in_float32(saved, guided16, relative_error):
    denoiser, _ = open_openai(saved("guided16", torch.Tensor.half), REFERENCE_OPTIONS["guided16"], CPU)
    assert {weight.dtype for weight in denoiser.network.parameters()} == {torch.float32}
    output = denoiser.network(guided16["unet_x"], guided16["unet_t"], guided16["unet_y"])
    assert 1e-6 < relative_error(output, guided16["unet_out"]) < 2e-3


def test_use_fp16_computes_in_half_precision(saved, guided16, relative_error):
    denoiser, _ = open_openai(saved("guided16"), replace(REFERENCE_OPTIONS["guided16"], use_fp16=True), CPU)
    assert denoiser.network.input_blocks[0][0].weight.dtype == torch.float16
    output = denoiser.network(guided16["unet_x"], guided16["unet_t"], guided16["unet_y"])
    assert relative_error(output, guided16["unet_out_fp16"]) < 4e-3


def test_the_blocks_of_a_single_level_are_inferred(random_unet):
    network = random_unet(channel_mult=[1], model_channels=32, norm_groups=32, num_res_blocks=2, image_size=4)
    description = describe(network.state_dict(), Path("x.pt"), OpenAI(image_size=4, num_heads=2))
    assert description.model == network.config


def without(part: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(part)}


def upsampler() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return UNet(Model(in_channels=6), 6).state_dict()


NO_UNET = r"x\.pt is not a state dict of improved-diffusion's or guided-diffusion's U-Net"


@pytest.mark.parametrize(
    ("weights", "options", "message"),
    [
        ({"a": torch.ones(3)}, {}, NO_UNET),
        ({"output_blocks.first": torch.ones(3)}, {}, NO_UNET),
        (CIFAR_10 | {f"output_blocks.{10**12}.0.x": torch.ones(3)}, {}, NO_UNET),  # must not count to it
        (CIFAR_10 | {"out.2.weight": torch.tensor(1.0)}, {}, NO_UNET),
        (CIFAR_10 | {"time_embed.0.weight": torch.ones(3)}, {}, NO_UNET),
        (without("out.", CIFAR_10), {}, NO_UNET),
        (without("output_blocks.", GUIDED_64), {}, NO_UNET),  # like classifiers
        (upsampler(), {}, r"x\.pt is an upsampler, conditioned on a smaller image; upsamplers are not supported"),
        (
            CIFAR_10 | {"out.2.weight": torch.ones(5, 128, 3, 3)},
            {},
            r"x\.pt is not a denoiser: it has 5 output channels for 3",
        ),
        (CIFAR_10 | {"extra": torch.ones(3)}, {}, r"x\.pt does not fit the network: unexpected: extra"),
        (
            GUIDED_64,
            {"preset": "cifar10_uncond_50M_500K"},
            r"missing: .*; unexpected: .*; wrong shape: .*; expected openai\.preset=cifar10_\S+; set .*=none",
        ),
        (
            CIFAR_10,
            {"preset": "cifar"},
            r"openai\.preset=cifar does not exist; choose none, cifar10_uncond_50M_500K, ",
        ),
        (
            CIFAR_10,
            {"variance": "fixed_small"},
            r"openai\.variance=fixed_small contradicts x\.pt, .* a learned variance",
        ),
        (CIFAR_10, {"num_heads": 3}, r"x\.pt: 3 attention heads do not divide .*=128"),
        (GUIDED_256, {"num_head_channels": 96}, r"x\.pt: .*num_head_channels=96 does not divide 512 channels"),
        (GUIDED_256, {"image_size": 100}, r"x\.pt: .*image_size=100 cannot be halved"),
    ],
)
def test_unsupported_files_are_rejected_with_a_one_line_message(weights, options, message):
    with pytest.raises(UserError, match=message) as error:
        describe(weights, Path("x.pt"), OpenAI(**options))
    assert "\n" not in str(error.value)


def test_learned_range_requires_a_network_with_learned_variance(unet64):
    with pytest.raises(UserError, match=r"learned_range contradicts x\.pt, whose network has no learned variance"):
        describe(unet64.network.state_dict(), Path("x.pt"), OpenAI(variance="learned_range"))


def test_an_undetermined_image_size_is_a_user_error(guided16):
    with pytest.raises(UserError, match=r"x\.pt does not determine the size of its images; set openai\.image_size="):
        describe(guided16.network.state_dict(), Path("x.pt"), OpenAI())
