"""The arithmetic of training.

Four optimizer steps of a trained network on fixed images, t and noise against improved-diffusion's results, and one
step of `Trainer` against the formulas of the loss.
"""

import copy
import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from models.unet import UNet
from records.layout import seed_folder
from train.accelerator import new_accelerator
from train.ema import Ema
from train.signals import SignalFlags
from train.trainer import Trainer

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


@pytest.fixture(params=[1, 2], ids=["at once", "in two microbatches"])
def trainer(request, tiny) -> Iterator[Trainer]:
    """A trainer with random weights, whose timestep sampler has seen losses that grow with t."""
    options = ["train.loss=hybrid", "train.timestep_sampler=loss_second_moment", "train.compile=false"]
    options += ["model.dropout=0.0", f"train.gradient_accumulation_steps={request.param}"]
    experiment = tiny(*options)
    trainer = Trainer(experiment, seed_folder(experiment, 0), new_accelerator("fp32"), SignalFlags())
    sampler = trainer.timestep_sampler
    sampler.counts[:], sampler.losses[:] = 10, np.linspace(0.1, 1, sampler.steps)[:, None]
    torch.manual_seed(0)
    for parameter in trainer.network.parameters():
        nn.init.normal_(parameter, std=0.5)  # the last layer starts at zero, which hides the network's inputs
    yield trainer
    trainer.close()


def hybrid_loss(network: nn.Module, betas: Tensor, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
    """Return L_simple + steps/1000 · L_vb [N] for t > 0, with the network's input t scaled to 0…1000."""
    alphas_cumprod = (1 - betas).cumprod(0)
    beta, product, before = (
        values[:, None, None, None] for values in (betas[t], alphas_cumprod[t], alphas_cumprod[t - 1])
    )
    x_t = product.sqrt() * x_0 + (1 - product).sqrt() * eps
    predicted, v = network(x_t.float(), t * 1000 / len(betas)).double().chunk(2, dim=1)

    def mean(noise: Tensor) -> Tensor:
        return (x_t - beta / (1 - product).sqrt() * noise) / (1 - beta).sqrt()

    posterior = beta * (1 - before) / (1 - product)
    scale = (((v + 1) / 2 * beta.log() + (1 - v) / 2 * posterior.log()) / 2).exp()
    kl = kl_divergence(Normal(mean(eps), posterior.sqrt()), Normal(mean(predicted.detach()), scale))
    bound = kl.mean(dim=(1, 2, 3)) / math.log(2)
    return ((predicted - eps) ** 2).mean(dim=(1, 2, 3)) + len(betas) / 1000 * bound


def test_a_step_of_the_trainer_follows_the_weighted_hybrid_loss(trainer):
    """The first moment after one step of AdamW is a tenth of the gradient."""
    batch, sampler, network = trainer.loader.load(0), trainer.timestep_sampler, copy.deepcopy(trainer.network).cpu()
    betas, x_0 = trainer.diffusion.schedule.betas.cpu(), batch.x_0.double() / 127.5 - 1
    t = torch.from_numpy(sampler.sample(4, trainer.seed, 0)[0])
    importance = 1 / (sampler.steps * sampler.probabilities()[t.numpy()])
    assert len(betas) != 1000 and t.min() > 0 and importance.max() > 1.5 * importance.min()
    (torch.from_numpy(importance) * hybrid_loss(network, betas, x_0, t, batch.eps.double())).mean().backward()
    norm = trainer.train_step(trainer.loader.to_device(batch))
    gradients = [parameter.grad for parameter in network.parameters()]
    assert norm.item() == pytest.approx(torch.nn.utils.get_total_norm(gradients).item(), rel=1e-4)
    for (name, parameter), before in zip(trainer.network.named_parameters(), network.parameters(), strict=True):
        moment = trainer.optimizer.state[parameter]["exp_avg"].cpu()
        torch.testing.assert_close(10 * moment, before.grad, rtol=1e-3, atol=1e-5 * norm.item(), msg=name)
        step = 1e-2 / 3 * moment / (moment.abs() + 1e-9)  # a third of the learning rate: the warmup takes three steps
        torch.testing.assert_close(parameter.cpu(), before - step, rtol=0, atol=1e-6, msg=name)
