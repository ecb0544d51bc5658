"""Tests of DDIM against improved-diffusion, and on a distribution with a known perfect denoiser."""

import dataclasses

import pytest
import torch

from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.levels import CLEAN, PURE_NOISE, Level, NoiseLevels
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim, ddim_step
from diffusion.solvers.solver import Step, final_state

CLIP = pytest.mark.parametrize("clip", [True, False], ids=["clip", "noclip"])
BOTH = pytest.mark.parametrize("schedule", ["cosine", "linear"])
HALF = Level.from_alpha_bar(0.5)
POINT = torch.linspace(-0.9, 0.9, 48).reshape(3, 4, 4)
NOISE = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def point_mass(schedule: str, calls: list | None = None) -> Denoiser:
    """Return the perfect denoiser of the distribution with the single image POINT; record (t, y) of all calls."""
    alphas_cumprod = Schedule.from_config(Diffusion(schedule=schedule, steps=1000)).alphas_cumprod

    def network(x_t, t, y):
        if calls is not None:
            calls.append((t.tolist(), y))
        alpha_bar = alphas_cumprod[(t * 2).round().long()].float()[:, None, None, None]
        eps = (x_t - alpha_bar.sqrt() * POINT) / (1 - alpha_bar).sqrt()
        return torch.cat([eps, torch.full_like(eps, torch.nan)], dim=1)  # DDIM ignores the second half

    return Denoiser(network, NoiseLevels.from_alphas_cumprod(alphas_cumprod), (3, 4, 4), 0.5, None, torch.device("cpu"))


@CLIP
@pytest.mark.parametrize("steps", [10, 100])
def test_sampling_and_inversion_equal_improved_diffusion(steps, clip, unet32, relative_error):
    """Compare the image, the inversion after steps 0, 1 and T/2, and the latent."""
    prefix = f"ddim{steps}_{'clip' if clip else 'noclip'}"
    x_0 = final_state(Ddim(steps, clip=clip).sample(unet32.denoiser, unet32["x_T"]))
    assert relative_error(x_0, unet32[f"{prefix}_x0"]) < 1e-4
    inversion = list(Ddim(steps, clip=clip).invert(unet32.denoiser, unet32[f"{prefix}_x0"]))
    expected = [*unet32[f"{prefix}_inv_steps_0_1_half"], unet32[f"{prefix}_latent"]]
    for i, x in zip([0, 1, steps // 2, -1], expected, strict=True):
        assert relative_error(inversion[i], x) < 1e-4


@CLIP
def test_every_step_of_a_trained_network_equals_improved_diffusion(clip, trained32, relative_error):
    prefix = f"ddim10_{'clip' if clip else 'noclip'}"
    trajectory = torch.stack(list(Ddim(10, clip=clip).sample(trained32.denoiser, trained32["x_T"])))
    assert relative_error(trajectory, trained32[f"{prefix}_trajectory"]) < 1e-4
    assert torch.equal(trained32[f"{prefix}_trajectory"][-1], trained32[f"{prefix}_x0"])
    latent = final_state(Ddim(10, clip=clip).invert(trained32.denoiser, trained32[f"{prefix}_x0"]))
    assert relative_error(latent, trained32[f"{prefix}_latent"]) < 1e-4


@BOTH
@CLIP
@pytest.mark.parametrize("steps", [2, 10, 100])
def test_sampling_a_point_mass_returns_the_point(schedule, clip, steps, relative_error):
    x_0 = final_state(Ddim(steps, clip=clip).sample(point_mass(schedule), NOISE))
    assert relative_error(x_0, POINT.expand_as(x_0)) < 1e-5


@BOTH
def test_steps_along_a_fixed_eps_compose_and_are_invertible(schedule, relative_error):
    """With ε fixed, x_t = √ᾱ·x_0 + √(1−ᾱ)·ε holds at the end of every step."""
    alphas_cumprod = Schedule.from_config(Diffusion(schedule=schedule, steps=1000)).alphas_cumprod
    x_0 = POINT[None].expand(2, -1, -1, -1)

    def x(t):
        return alphas_cumprod[t].sqrt().float() * x_0 + (1 - alphas_cumprod[t]).sqrt().float() * NOISE

    for start, end in [(700, 300), (300, 700), (10, 0), (500, 500)]:
        step = Step(start, *(Level.from_alpha_bar(alphas_cumprod[t].item()) for t in (start, end)))
        assert relative_error(ddim_step(x(start), x_0, NOISE, step, clip=False), x(end)) < 1e-6


def test_clipping_limits_x_0_and_recomputes_eps():
    x_t, x_0, eps = (torch.full((1, 1, 1, 1), value) for value in (2.0, 2 * 2**0.5, 0.0))
    assert ddim_step(x_t, x_0, eps, Step(0, HALF, CLEAN), clip=True).item() == 1
    noise = ddim_step(x_t, x_0, eps, Step(0, HALF, PURE_NOISE), clip=True)
    assert noise.item() == pytest.approx((2 - 0.5**0.5) / 0.5**0.5)


def test_a_step_from_a_clean_image_uses_the_predicted_eps():
    """At ᾱ = 1, ε cannot be recomputed from x_0, even with clipping."""
    x_0, eps = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 2.0)
    x_t = ddim_step(x_0, x_0, eps, Step(0, CLEAN, Level.from_alpha_bar(0.64)), clip=True)
    assert x_t.item() == pytest.approx(0.8 * 0.5 + 0.6 * 2.0)


def test_eps_of_a_clean_image_is_that_of_the_first_timestep_even_before_it():
    """Some solvers evaluate a clean image at a negative timestep, which must not select the noisiest level."""
    perfect = point_mass("cosine")
    denoiser = dataclasses.replace(perfect, network=lambda x_t, t, y: POINT[None], prediction_type="x_0")
    before, first = (denoiser.predict(POINT[None] + NOISE, timestep, CLEAN)[1] for timestep in (-1.0, 0.0))
    assert torch.equal(before, first)


@pytest.mark.parametrize("prediction_type", ["eps", "x_0", "v"])
@pytest.mark.parametrize("clip", [True, False])
def test_all_prediction_types_sample_and_invert_alike(prediction_type, clip, relative_error):
    """The perfect predictions of ε, x_0 and v are equivalent; at low noise, ε computed from x_0 is less accurate."""
    perfect = point_mass("cosine")

    def network(x_t, t, y):
        eps = perfect.network(x_t, t, y)[:, :3]
        index = (t * 2).round().long()
        signal, noise = (x[index].float()[:, None, None, None] for x in (perfect.levels.alphas, perfect.levels.sigmas))
        return {"eps": eps, "x_0": (x_t - noise * eps) / signal, "v": signal * eps - noise * POINT}[prediction_type]

    denoiser = dataclasses.replace(perfect, network=network, prediction_type=prediction_type)
    ddim = Ddim(10, clip=clip)
    for direction, start in ((ddim.sample, NOISE), (ddim.invert, POINT[None] + 0.01 * NOISE)):
        for x, expected in zip(direction(denoiser, start), direction(perfect, start), strict=True):
            assert relative_error(x, expected) < 1e-3


@pytest.mark.parametrize(("direction", "order"), [(Ddim.sample, -1), (Ddim.invert, 1)])
def test_the_network_gets_scaled_timesteps_in_order_and_the_labels(direction, order):
    calls, y = [], torch.tensor([3, 4])
    assert len(list(direction(Ddim(10), point_mass("cosine", calls), NOISE, y))) == 10
    assert [t for t, _ in calls] == [[50.0 * i] for i in range(10)][::order]
    assert all(labels is y for _, labels in calls)
