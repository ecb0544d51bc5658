"""Networks on a GPU against outputs of the original code: in each precision, compiled, and without synchronization."""

import copy
import dataclasses

import pytest
import torch

from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state
from models import compiled
from models.compiled import allow_tf32, optimize_inference
from models.open import as_denoiser
from models.unet import Dropout

# Largest error relative to the largest value. In bf16 (8 significant bits) it is 1.3e-2 on a CPU; TF32 has 11 bits.
BOUNDS = {"fp32": 5e-5, "tf32": 5e-3, "bf16": 3e-2}


@pytest.fixture(autouse=True)
def no_shared_networks(monkeypatch):
    monkeypatch.setattr(compiled, "_NETWORKS", {})


@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("name", ["unet32", "unet64", "guided16"])
def test_output_equals_the_original(name, precision, device, request, relative_error):
    reference = request.getfixturevalue(name)
    network = copy.deepcopy(reference.network).to(device)
    allow_tf32(precision == "tf32")
    if precision == "bf16":
        network.to(memory_format=torch.channels_last).convert_to_half(torch.bfloat16)
    y = reference.labels("unet_y")
    output = network(
        reference["unet_x"].to(device), reference["unet_t"].to(device), None if y is None else y.to(device)
    )
    error = relative_error(output.cpu(), reference["unet_out"])
    assert error < BOUNDS[precision]
    if precision != "fp32" and not (precision == "tf32" and device.type == "cpu"):
        assert error > 1e-5  # the precision is not float32


@pytest.mark.parametrize(("precision", "bound"), [("fp32", 1e-3), ("bf16", 5e-2)])
def test_sampling_and_inversion_equal_the_original(precision, bound, device, trained32, relative_error):
    """Ten DDIM steps in each direction with a trained network, from improved-diffusion's noise."""
    network = copy.deepcopy(trained32.network).to(device)
    plain = dataclasses.replace(trained32.denoiser, network=network, device=device)
    denoiser = optimize_inference(plain, precision, False)
    solver = Ddim(10, clip=False)
    with torch.no_grad():
        x_0 = final_state(solver.sample(denoiser, trained32["x_T"].to(device)))
        latent = final_state(solver.invert(denoiser, trained32["ddim10_noclip_x0"].to(device)))
    assert relative_error(x_0.cpu(), trained32["ddim10_noclip_x0"]) < bound
    assert relative_error(latent.cpu(), trained32["ddim10_noclip_latent"]) < bound


@pytest.mark.gpu
@pytest.mark.parametrize("precision", BOUNDS)
def test_a_compiled_network_equals_a_plain_one(precision, gpu, unet32, relative_error):
    network = copy.deepcopy(unet32.network).to(gpu)
    plain = as_denoiser(network, network.config, unet32.diffusion, gpu)
    x = unet32["unet_x"].to(gpu)
    allow_tf32(False)
    with torch.no_grad():
        expected = plain.output(x, 100)
        output = optimize_inference(plain, precision, True).output(x, 100)
    assert relative_error(output.cpu(), expected.cpu()) < BOUNDS[precision]


def test_dropout_masks_equal_those_of_the_cpu(device):
    """Compiled too: the hash is arithmetic modulo 2³², which a GPU's compiler must not compute in other integers."""
    layer, x = Dropout(0.3).train(), torch.ones(4, 8, 16, 16)
    layer.layer = 37
    keys = torch.tensor([-(2**31), -1, 0, 2**31 - 1], dtype=torch.int32)
    expected = layer(x, keys)
    assert torch.equal(layer(x.to(device), keys.to(device)).cpu(), expected)
    if device.type != "cpu":
        assert torch.equal(torch.compile(layer, dynamic=False)(x.to(device), keys.to(device)).cpu(), expected)


@pytest.mark.gpu
@pytest.mark.parametrize("precision", BOUNDS)
@pytest.mark.parametrize("direction", [Ddim.sample, Ddim.invert])
def test_ddim_does_not_synchronize(direction, precision, gpu, unet32):
    network = copy.deepcopy(unet32.network).to(gpu)
    denoiser = optimize_inference(as_denoiser(network, network.config, unet32.diffusion, gpu), precision, False)
    x = unet32["unet_x"].to(gpu)
    with torch.no_grad():
        final_state(direction(Ddim(4), denoiser, x))  # the first call may initialize libraries
        torch.cuda.set_sync_debug_mode("error")
        try:
            final_state(direction(Ddim(4), denoiser, x))
        finally:
            torch.cuda.set_sync_debug_mode("default")
