"""Tests of the U-Net against improved-diffusion and guided-diffusion, and of its options."""

from dataclasses import replace

import pytest
import torch

from configs.schema import Diffusion, Model
from models.unet import UNet

X, T = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([3.0, 700.0])


@pytest.mark.parametrize("name", ["unet32", "unet64", "guided16", "guided16_means"])
def test_output_equals_the_original(name, request, relative_error):
    reference = request.getfixturevalue(name)
    output = reference.network(reference["unet_x"], reference["unet_t"], reference.labels("unet_y"))
    assert relative_error(output, reference["unet_out"]) < 1e-5


@pytest.mark.parametrize("name", ["unet32", "unet64", "trained32", "guided16", "guided16_means"])
def test_number_of_parameters_equals_the_original(name, request):
    """The fixtures load the state dicts strictly, so their keys are equal as well."""
    reference = request.getfixturevalue(name)
    assert sum(parameter.numel() for parameter in reference.network.parameters()) == reference.parameters


@pytest.fixture
def guided_with(guided16):
    """Return a function that computes the output of guided-diffusion's network with other options."""

    def output(**options):
        network = (
            UNet.from_config(replace(guided16.network.config, **options), guided16.diffusion)
            .eval()
            .requires_grad_(False)
        )
        network.load_state_dict(guided16.network.state_dict())
        return network(guided16["unet_x"], guided16["unet_t"], guided16["unet_y"])

    return output


def test_new_attention_order_equals_guided_diffusion(guided16, guided_with, relative_error):
    assert relative_error(guided_with(use_new_attention_order=True), guided16["unet_out_new_attention_order"]) < 1e-5


def test_half_precision_equals_guided_diffusion(guided16, guided_with, relative_error):
    """Equal up to half precision (1e-3), because attention rounds at other places."""
    half = guided_with(use_fp16=True)
    assert half.dtype == torch.float32
    assert relative_error(half, guided16["unet_out_fp16"]) < 4e-3
    assert relative_error(half, guided16["unet_out"]) > 1e-4


def test_half_precision_is_limited_to_the_blocks_convolutions(random_unet):
    network = random_unet(use_fp16=True, num_classes=10)
    half = {name for name, weight in network.named_parameters() if weight.dtype == torch.float16}
    assert "input_blocks.0.0.weight" in half and "middle_block.1.qkv.bias" in half
    assert not [name for name in half if "norm" in name or "emb" in name or name.startswith(("time_", "out."))]


@pytest.mark.parametrize(
    ("model", "parameters"),
    [(Model(), 52_546_438), (Model(image_size=64, channel_mult=[1, 2, 3, 4]), 121_063_942)],
    ids=["CIFAR-10", "ImageNet-64"],
)
def test_published_models_have_the_published_size(model, parameters):
    with torch.device("meta"):
        network = UNet.from_config(model, Diffusion())
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters


@pytest.mark.parametrize(("variance", "channels"), [("learned_range", 6), ("fixed_large", 3), ("fixed_small", 3)])
def test_a_learned_variance_doubles_the_output_channels(variance, channels):
    with torch.device("meta"):
        network = UNet.from_config(Model(), Diffusion(variance=variance))
        assert network(torch.empty(1, 3, 32, 32), torch.empty(1)).shape == (1, channels, 32, 32)


def test_an_untrained_network_predicts_zero():
    """The last convolution is initialized with zeros."""
    network = UNet(Model(image_size=8, model_channels=32, channel_mult=[1], attention_resolutions=[]), 3)
    assert network(X, T).abs().max() == 0


@pytest.mark.parametrize("num_res_blocks", [1, 2])
@pytest.mark.parametrize("in_channels", [1, 3])
def test_output_shape_for_channels_and_blocks(random_unet, num_res_blocks, in_channels):
    network = random_unet(in_channels=in_channels, out_channels=2 * in_channels, num_res_blocks=num_res_blocks)
    assert network(X[:, :in_channels], T).shape == (2, 2 * in_channels, 8, 8)


@pytest.mark.parametrize("use_scale_shift_norm", [True, False])
def test_output_depends_on_time_with_and_without_scale_shift_norm(random_unet, use_scale_shift_norm):
    network = random_unet(use_scale_shift_norm=use_scale_shift_norm)
    width = network.middle_block[0].emb_layers[1].out_features
    assert width == (32 if use_scale_shift_norm else 16)
    assert not torch.allclose(network(X, T), network(X, T + 50))


@pytest.mark.parametrize("use_scale_shift_norm", [True, False])
def test_output_depends_on_the_class(random_unet, use_scale_shift_norm):
    network = random_unet(num_classes=10, use_scale_shift_norm=use_scale_shift_norm)
    first, second = network(X, T, torch.tensor([1, 1])), network(X, T, torch.tensor([1, 2]))
    assert torch.allclose(first[0], second[0], atol=1e-5)
    assert not torch.allclose(first[1], second[1])


def test_images_of_a_batch_are_independent(random_unet, relative_error):
    network = random_unet()
    assert relative_error(network(X, T)[1:], network(X[1:], T[1:])) < 1e-6


def test_num_heads_upsample_applies_to_output_blocks_only(random_unet):
    network = random_unet(num_heads=2, num_heads_upsample=4)
    heads = {name: module.num_heads for name, module in network.named_modules() if hasattr(module, "num_heads")}
    assert heads == {"input_blocks.3.1": 2, "middle_block.1": 2, "output_blocks.0.1": 4, "output_blocks.1.1": 4}
    assert torch.equal(random_unet(num_heads_upsample=2)(X, T), random_unet()(X, T))
    assert not torch.allclose(network(X, T), random_unet()(X, T))


def test_norm_groups_apply_to_every_normalization(random_unet):
    network = random_unet(norm_groups=2)
    assert {module.num_groups for module in network.modules() if isinstance(module, torch.nn.GroupNorm)} == {2}
    assert not torch.allclose(network(X, T), random_unet(norm_groups=4)(X, T))


def test_attention_is_at_the_configured_resolutions(random_unet):
    attention = [
        name for name, module in random_unet(attention_resolutions=[8]).named_modules() if hasattr(module, "num_heads")
    ]
    assert attention == ["input_blocks.1.1", "middle_block.1", "output_blocks.2.1", "output_blocks.3.1"]


@pytest.mark.parametrize("model_channels", [8, 9])
def test_odd_numbers_of_channels_are_embedded(random_unet, model_channels):
    network = random_unet(model_channels=model_channels, num_heads=1, norm_groups=1)
    assert network(X, T).shape == X.shape
