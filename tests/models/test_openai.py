"""OpenAI's files: opened by their name or their tensors alone, they compute what their own code does."""

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
UNTOLD = [field.name for field in dataclasses.fields(OpenAI) if field.name != "preset"]
COSINE_4000 = {"schedule": "cosine", "steps": 4000}
# What the tensors of each reference do not tell and nobody would assume.
GIVEN = {
    "unet32": OpenAI(**COSINE_4000),
    "unet64": OpenAI(num_heads=1),
    "trained32": OpenAI(**COSINE_4000),
    "guided16": OpenAI(image_size=16, num_head_channels=16, schedule="cosine"),
    "guided16_means": OpenAI(image_size=16),
}


@pytest.fixture
def saved(tmp_path, request):
    """A function: the state dict of a reference as a file, its tensors changed by a function."""

    def file(name: str, change=lambda tensor: tensor) -> Path:
        weights = request.getfixturevalue(name).network.state_dict()
        torch.save({key: change(tensor) for key, tensor in weights.items()}, tmp_path / "model000500.pt")
        return tmp_path / "model000500.pt"

    return file


def shapes_of(preset: str) -> dict[str, torch.Tensor]:
    """A published file's tensors without their values."""
    with torch.device("meta"):
        return UNet.from_config(PRESETS[preset].model, PRESETS[preset].diffusion).state_dict()


@pytest.mark.parametrize("name", ["unet32", "unet64", "guided16", "guided16_means"])
def test_a_file_whose_architecture_is_inferred_computes_what_its_own_code_does(name, saved, request, relative_error):
    reference = request.getfixturevalue(name)
    denoiser, described = open_openai(saved(name), GIVEN[name], CPU)
    assert replace(described.model, dropout=reference.network.config.dropout) == reference.network.config
    output = denoiser.network(reference["unet_x"], reference["unet_t"], reference.labels("unet_y"))
    assert relative_error(output, reference["unet_out"]) < 1e-5
    assert torch.equal(denoiser.levels.alphas, reference.schedule.levels.alphas)
    assert denoiser.shape == reference["unet_x"].shape[1:] and denoiser.num_classes == described.model.num_classes


def test_what_improved_diffusion_trained_samples_as_its_own_code_does(saved, trained32, relative_error):
    denoiser, _ = open_openai(saved("trained32"), GIVEN["trained32"], CPU)
    trajectory = torch.stack(list(Ddim(10, clip=True).sample(denoiser, trained32["x_T"])))
    assert relative_error(trajectory, trained32["ddim10_clip_trajectory"]) < 1e-4


@pytest.mark.parametrize("name", PRESETS)
def test_published_files_open_by_their_name_and_by_their_tensors(name):
    preset, weights = PRESETS[name], shapes_of(name)
    by_name = describe(weights, Path(f"{name}.pt"), OpenAI())
    assert (by_name.model, by_name.diffusion) == (preset.model, preset.diffusion)
    assert by_name.known_from["assumed"] == by_name.known_from["given"] == {}
    options = dataclasses.asdict(preset.model) | dataclasses.asdict(preset.diffusion)
    given = {option: options[option] for option in UNTOLD if option not in ("image_size", "variance")}
    by_tensors = describe(weights, Path("model.pt"), OpenAI(**given))
    assert (by_tensors.model, by_tensors.diffusion) == (preset.model, preset.diffusion)
    assert by_tensors.known_from["assumed"].keys() <= {"image_size", "num_head_channels"}


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
def test_published_networks_have_as_many_parameters_as_the_originals(name, parameters):
    """Counted in the networks that the projects' own scripts make with the flags of their READMEs."""
    assert sum(tensor.numel() for tensor in shapes_of(name).values()) == parameters


def test_a_file_of_another_name_takes_the_preset_it_is_given():
    weights = shapes_of("256x256_diffusion_uncond")
    described = describe(weights, Path("copy.pt"), OpenAI(preset="256x256_diffusion_uncond"))
    assert described.model == PRESETS["256x256_diffusion_uncond"].model


def test_what_is_given_comes_before_the_preset():
    given = OpenAI(image_size=128, num_heads=2, use_fp16=False, steps=500)
    described = describe(shapes_of("256x256_diffusion"), Path("256x256_diffusion.pt"), given)
    changed = {"image_size": 128, "num_heads": 2, "num_head_channels": None, "use_fp16": False}
    changed["attention_resolutions"] = [16, 8, 4]
    assert described.model == replace(PRESETS["256x256_diffusion"].model, **changed)
    assert described.diffusion == replace(PRESETS["256x256_diffusion"].diffusion, steps=500)


def test_it_is_told_where_each_option_is_known_from():
    preset = describe(shapes_of("cifar10_uncond_50M_500K"), Path("cifar10_uncond_50M_500K.pt"), OpenAI(steps=1000))
    assert [line.split(":")[0] for line in preset.lines] == [
        "from the tensors",
        "given",
        "from the preset cifar10_uncond_50M_500K",
    ]
    assert "given: steps=1000" in preset.lines and "model_channels=128" in preset.lines[0]
    assumed = describe(shapes_of("cifar10_uncond_50M_500K"), Path("x.pt"), OpenAI(preset="none", num_heads=8)).lines
    assert assumed[1] == "given: num_heads=8"
    assert assumed[2].startswith("assumed: ") and "schedule=linear" in assumed[2] and "image_size=32" in assumed[2]


def test_weights_in_half_precision_are_computed_with_in_float32(saved, guided16, relative_error):
    denoiser, _ = open_openai(saved("guided16", torch.Tensor.half), GIVEN["guided16"], CPU)
    assert {weight.dtype for weight in denoiser.network.parameters()} == {torch.float32}
    output = denoiser.network(guided16["unet_x"], guided16["unet_t"], guided16["unet_y"])
    assert 1e-6 < relative_error(output, guided16["unet_out"]) < 2e-3


def test_use_fp16_computes_in_half_precision(saved, guided16, relative_error):
    denoiser, _ = open_openai(saved("guided16"), replace(GIVEN["guided16"], use_fp16=True), CPU)
    assert denoiser.network.input_blocks[0][0].weight.dtype == torch.float16
    output = denoiser.network(guided16["unet_x"], guided16["unet_t"], guided16["unet_y"])
    assert relative_error(output, guided16["unet_out_fp16"]) < 4e-3


def test_a_single_level_tells_its_blocks(random_unet):
    network = random_unet(channel_mult=[1], model_channels=32, norm_groups=32, num_res_blocks=2, image_size=4)
    described = describe(network.state_dict(), Path("x.pt"), OpenAI(image_size=4, num_heads=2))
    assert described.model == network.config


CIFAR_10, GUIDED_64, GUIDED_256 = (
    shapes_of(name) for name in ("cifar10_uncond_50M_500K", "64x64_diffusion", "256x256_diffusion")
)


def without(part: str, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in weights.items() if not name.startswith(part)}


def upsampler() -> dict[str, torch.Tensor]:
    with torch.device("meta"):
        return UNet(Model(in_channels=6), 6).state_dict()


NO_UNET = r"x\.pt is no state dict of improved-diffusion's or guided-diffusion's U-Net"


@pytest.mark.parametrize(
    ("weights", "given", "message"),
    [
        ({"a": torch.ones(3)}, {}, NO_UNET),
        ({"output_blocks.first": torch.ones(3)}, {}, NO_UNET),
        (CIFAR_10 | {"time_embed.0.weight": torch.ones(3)}, {}, NO_UNET),
        (without("out.", CIFAR_10), {}, NO_UNET),
        (without("output_blocks.", GUIDED_64), {}, NO_UNET),  # as classifiers are
        (upsampler(), {}, r"x\.pt is an upsampler, which sees a smaller image beside x_t; those are not supported"),
        (CIFAR_10 | {"out.2.weight": torch.ones(5, 128, 3, 3)}, {}, r"x\.pt makes 5 channels of 3: it is no denoiser"),
        (CIFAR_10 | {"extra": torch.ones(3)}, {}, r"x\.pt does not fit the network: extra unexpected"),
        (
            GUIDED_64,
            {"preset": "cifar10_uncond_50M_500K"},
            r"missing; .* unexpected; .* shape; it is that of openai\.preset=cifar10_\S+, and .*=none infers it",
        ),
        (
            CIFAR_10,
            {"preset": "cifar"},
            r"openai\.preset=cifar is not known; there are none, cifar10_uncond_50M_500K, ",
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
def test_what_cannot_be_opened_is_refused_with_one_sentence(weights, given, message):
    with pytest.raises(UserError, match=message) as error:
        describe(weights, Path("x.pt"), OpenAI(**given))
    assert "\n" not in str(error.value)


def test_a_learned_variance_is_not_invented(unet64):
    with pytest.raises(UserError, match=r"learned_range contradicts x\.pt, whose network has no learned variance"):
        describe(unet64.network.state_dict(), Path("x.pt"), OpenAI(variance="learned_range"))


def test_a_side_that_nothing_tells_is_asked_for(guided16):
    with pytest.raises(UserError, match=r"x\.pt does not tell the side of its images; set openai\.image_size="):
        describe(guided16.network.state_dict(), Path("x.pt"), OpenAI())
