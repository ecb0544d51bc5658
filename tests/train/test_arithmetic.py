"""Four optimizer steps of a trained network on fixed images, t and noise, against improved-diffusion's results."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.unet import UNet
from train.ema import Ema

# Group normalization over single channels removes these biases: their gradient is only rounding error, which AdamW
# turns into full-size steps in either direction.
WITHOUT_GRADIENT = {
    "input_blocks.1.0.in_layers.2.bias",
    "output_blocks.6.0.in_layers.2.bias",
    "output_blocks.7.0.in_layers.2.bias",
    "output_blocks.7.0.out_layers.3.bias",
    "output_blocks.7.0.skip_connection.bias",
}
RECORDED = 64  # values per tensor


@pytest.fixture(scope="module")
def golden(repository):
    with np.load(repository / "tests" / "reference" / "train_steps.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def four_steps(repository, trained32, golden):
    """The network, its EMA, and [loss, mse, vb, gradient norm] of each step."""
    network = UNet(trained32.network.config, 6).eval()  # the reference was recorded without dropout
    network.load_state_dict(load_file(repository / "tests" / "reference" / "trained32_raw.safetensors"))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    ema, results = Ema(network, 0.99), []
    for x_0, t, eps in zip(*(torch.from_numpy(golden[name]) for name in ("x0", "t", "eps")), strict=True):
        losses = trained32.gaussian_diffusion.losses(network, x_0, t, eps, "hybrid")
        losses.loss.mean().backward()
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in network.parameters()])
        results.append([part.mean().item() for part in (losses.loss, losses.mse, losses.vb)] + [norm.item()])
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
    return network, ema, np.array(results)


def test_losses_and_gradient_norms_match_the_reference(four_steps, golden):
    _, _, results = four_steps
    assert results[:, :3] == pytest.approx(golden["loss_mse_vb"], rel=1e-5)
    assert results[:, 3] == pytest.approx(golden["grad_norm"], rel=1e-4)


def test_final_weights_match_the_reference(four_steps, golden):
    network, ema, _ = four_steps
    for weights, name in ((network.state_dict(), "model_first"), (ema.weights, "ema_first")):
        ends = np.cumsum([min(RECORDED, value.numel()) for value in weights.values()])[:-1]
        for (key, value), expected in zip(weights.items(), np.split(golden[name], ends), strict=True):
            largest = 4 * 1e-4 * 1.5 if key in WITHOUT_GRADIENT else 1e-6
            assert np.abs(value.flatten()[:RECORDED].numpy() - expected).max() < largest, key


def test_norms_of_all_final_weights_match_the_reference(four_steps, golden):
    """The norms cover all values; the other test covers the first values of each tensor."""
    for (key, value), norm in zip(four_steps[0].state_dict().items(), golden["model_norms"], strict=True):
        if key not in WITHOUT_GRADIENT:
            assert value.double().norm().item() == pytest.approx(norm, rel=1e-6), key
