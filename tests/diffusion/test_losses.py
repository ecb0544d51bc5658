"""Tests of the losses against improved-diffusion, and of properties that hold for any network."""

import math

import pytest
import torch
from torch import Tensor

from configs.schema import Diffusion
from diffusion.losses import GaussianDiffusion, discretized_gaussian_log_likelihood, normal_kl
from diffusion.schedule import Schedule

BOTH_MODELS = pytest.mark.parametrize("name", ["unet32", "unet64"])
RANDOM = torch.Generator().manual_seed(0)
X_0 = torch.randint(0, 256, (5, 3, 4, 4), generator=RANDOM) / 127.5 - 1
EPS = torch.randn(5, 3, 4, 4, generator=RANDOM)
T = torch.tensor([0, 1, 40, 500, 999])


def gaussian_diffusion(**options) -> GaussianDiffusion:
    diffusion = Diffusion(**({"steps": 1000} | options))
    return GaussianDiffusion(Schedule.from_config(diffusion), diffusion.variance, diffusion.rescale_timesteps)


def losses_of(reference, kind):
    def network(x_t, t):
        return reference.network(x_t, t, reference.labels("loss_y"))

    x_0, t, eps = reference["loss_x0"], reference["loss_t"], reference["loss_eps"]
    return reference.gaussian_diffusion.losses(network, x_0, t, eps, kind)


@pytest.mark.parametrize(
    ("name", "kind", "part", "expected"),
    [
        ("unet32", "hybrid", "loss", "loss_hybrid_loss"),
        ("unet32", "hybrid", "mse", "loss_hybrid_mse"),
        ("unet32", "hybrid", "vb", "loss_hybrid_vb"),
        ("unet32", "simple", "loss", "loss_mse_mse"),
        ("unet32", "simple", "mse", "loss_mse_mse"),
        ("unet32", "vlb", "loss", "loss_vlb_loss"),
        ("unet32", "vlb", "vb", "loss_kl_loss"),
        ("unet32", "vlb", "vb", "loss_mse_vb"),
        ("unet64", "hybrid", "loss", "loss_hybrid_loss"),
        ("unet64", "hybrid", "mse", "loss_hybrid_mse"),
        ("unet64", "simple", "loss", "loss_mse_loss"),
        ("unet64", "vlb", "loss", "loss_vlb_loss"),
        ("unet64", "vlb", "vb", "loss_kl_loss"),
    ],
)
def test_losses_equal_improved_diffusion(name, kind, part, expected, request):
    reference = request.getfixturevalue(name)
    torch.testing.assert_close(losses_of(reference, kind).parts()[part], reference[expected], rtol=1e-5, atol=0)


@BOTH_MODELS
def test_q_sample_equals_improved_diffusion(name, request, relative_error):
    reference = request.getfixturevalue(name)
    x_t = reference.gaussian_diffusion.q_sample(reference["loss_x0"], reference["loss_t"], reference["loss_eps"])
    assert relative_error(x_t, reference["q_sample"]) < 1e-6


def test_the_network_gets_x_t_and_scaled_timesteps():
    inputs = []

    def network(x_t: Tensor, t: Tensor) -> Tensor:
        inputs.append((x_t, t.tolist()))
        return torch.zeros_like(x_t)

    t = torch.tensor([0, 1, 2, 1000, 3999])
    for rescale, expected in [(True, [0, 0.25, 0.5, 250, 999.75]), (False, [0, 1, 2, 1000, 3999])]:
        diffusion = gaussian_diffusion(steps=4000, variance="fixed_small", rescale_timesteps=rescale)
        diffusion.losses(network, X_0, t, EPS, "simple")
        x_t, network_times = inputs.pop()
        assert network_times == expected
        assert torch.equal(x_t, diffusion.q_sample(X_0, t, EPS))


def test_q_sample_ranges_from_image_to_noise():
    t = torch.tensor([0, 0, 999, 999, 999])
    x_t = gaussian_diffusion().q_sample(X_0, t, EPS)
    torch.testing.assert_close(x_t[:2], X_0[:2], rtol=0, atol=0.05)
    torch.testing.assert_close(x_t[2:], EPS[2:], rtol=0, atol=1e-2)


def test_a_perfect_prediction_has_only_the_decoders_loss():
    """With the true ε and the posterior variance, every reverse step is exact: KL = 0 for t > 0."""
    perfect = gaussian_diffusion(variance="fixed_small")
    assert perfect.losses(lambda x_t, t: EPS, X_0, T, EPS, "simple").loss.abs().max() == 0
    vb = perfect.losses(lambda x_t, t: EPS, X_0, T, EPS, "vlb").vb
    assert vb[1:].abs().max() < 1e-5
    assert 0 < vb[0] < 8


@pytest.mark.parametrize("weight, variance", [(-1.0, "fixed_small"), (1.0, "fixed_large")])
def test_learned_range_interpolates_between_fixed_small_and_fixed_large(weight, variance):
    output, x_t = torch.cat([EPS, torch.full_like(EPS, weight)], 1), gaussian_diffusion().q_sample(X_0, T, EPS)
    learned = gaussian_diffusion().predict(output[1:], x_t[1:], T[1:]).log_variance
    fixed = gaussian_diffusion(variance=variance).predict(output[1:], x_t[1:], T[1:]).log_variance
    torch.testing.assert_close(learned, fixed)


def test_the_hybrid_loss_trains_the_mean_with_the_simple_loss_only():
    """The gradient of its bound affects the variance weights but not ε; the vlb loss trains both."""
    gradients = {}
    for kind in ("simple", "hybrid", "vlb"):
        output = torch.zeros(5, 6, 4, 4).requires_grad_()
        gaussian_diffusion().losses(lambda x_t, t, output=output: output, X_0, T, EPS, kind).loss.mean().backward()
        gradients[kind] = output.grad
    assert torch.equal(gradients["hybrid"][:, :3], gradients["simple"][:, :3])
    assert gradients["simple"][:, 3:].abs().max() == 0
    assert gradients["hybrid"][:, 3:].abs().max() > 0
    assert gradients["vlb"].chunk(2, dim=1)[0].abs().max() > 0
    torch.testing.assert_close(gradients["vlb"][:, 3:], gradients["hybrid"][:, 3:] * 1000)


@pytest.mark.parametrize("variance", ["learned_range", "fixed_large", "fixed_small"])
def test_the_loss_is_the_sum_of_its_terms(variance):
    diffusion = gaussian_diffusion(variance=variance, steps=4000)
    output = torch.randn(5, 6 if variance == "learned_range" else 3, 4, 4, generator=torch.Generator().manual_seed(1))

    def parts(kind: str) -> dict[str, Tensor]:
        return diffusion.losses(lambda x_t, t: output, X_0, T, EPS, kind).parts()

    simple, hybrid, vlb = parts("simple"), parts("hybrid"), parts("vlb")
    assert torch.equal(simple["loss"], simple["mse"]) and torch.equal(hybrid["mse"], simple["mse"])
    assert torch.equal(vlb["loss"], 4000 * vlb["vb"])
    if variance == "learned_range":
        torch.testing.assert_close(hybrid["loss"], hybrid["mse"] + 4 * vlb["vb"])
    else:
        assert hybrid.keys() == simple.keys()


def test_normal_kl_equals_torch():
    means = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    log_variances = torch.linspace(-3, 2, 100).view(2, 50)
    p, q = (torch.distributions.Normal(m, (v / 2).exp()) for m, v in zip(means, log_variances, strict=True))
    kl = normal_kl(means[0], log_variances[0], means[1], log_variances[1])
    torch.testing.assert_close(kl, torch.distributions.kl_divergence(p, q), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mean", [-1.2, -1.0, 0.3, 1.0])
@pytest.mark.parametrize("scale", [0.02, 0.3, 3.0])
def test_probabilities_of_the_256_pixel_values_sum_to_one(mean, scale):
    x = torch.arange(256, dtype=torch.float64) / 127.5 - 1
    log_probability = discretized_gaussian_log_likelihood(x, torch.tensor(mean), torch.tensor(math.log(scale)))
    assert log_probability.exp().sum().item() == pytest.approx(1, abs=1e-5)
