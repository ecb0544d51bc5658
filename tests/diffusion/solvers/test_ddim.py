"""DDIM against improved-diffusion's, and on a distribution of which the perfect denoiser is known."""

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


def point_mass(schedule: str, seen: list | None = None) -> Denoiser:
    """The perfect denoiser of a distribution of one image, POINT; notes (t, y) of every call in `seen`."""
    alphas_cumprod = Schedule.from_config(Diffusion(schedule=schedule, steps=1000)).alphas_cumprod

    def network(x_t, t, y):
        if seen is not None:
            seen.append((t.tolist(), y))
        alpha_bar = alphas_cumprod[(t * 2).round().long()].float()[:, None, None, None]
        eps = (x_t - alpha_bar.sqrt() * POINT) / (1 - alpha_bar).sqrt()
        return torch.cat([eps, torch.full_like(eps, torch.nan)], dim=1)  # the second half is not for DDIM

    return Denoiser(network, NoiseLevels.from_alphas_cumprod(alphas_cumprod), (3, 4, 4), 0.5, None, torch.device("cpu"))


@CLIP
@pytest.mark.parametrize("steps", [10, 100])
def test_sampling_and_inversion_are_improved_diffusions(steps, clip, unet32, relative_error):
    """The image, the inversion after steps 0, 1 and T/2, and the latent."""
    prefix = f"ddim{steps}_{'clip' if clip else 'noclip'}"
    x_0 = final_state(Ddim(steps, clip=clip).sample(unet32.denoiser, unet32["x_T"]))
    assert relative_error(x_0, unet32[f"{prefix}_x0"]) < 1e-4
    inversion = list(Ddim(steps, clip=clip).invert(unet32.denoiser, unet32[f"{prefix}_x0"]))
    expected = [*unet32[f"{prefix}_inv_steps_0_1_half"], unet32[f"{prefix}_latent"]]
    for i, x in zip([0, 1, steps // 2, -1], expected, strict=True):
        assert relative_error(inversion[i], x) < 1e-4


@CLIP
def test_every_step_from_trained_weights_is_improved_diffusions(clip, trained32, relative_error):
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
def test_steps_along_one_noise_add_up_and_can_be_taken_back(schedule, relative_error):
    """With ε held fixed, x_t = √ᾱ x_0 + √(1−ᾱ) ε holds at every ᾱ that a step goes to."""
    alphas_cumprod, x_0 = (
        Schedule.from_config(Diffusion(schedule=schedule, steps=1000)).alphas_cumprod,
        POINT[None].expand(2, -1, -1, -1),
    )

    def at(t):
        return alphas_cumprod[t].sqrt().float() * x_0 + (1 - alphas_cumprod[t]).sqrt().float() * NOISE

    for start, end in [(700, 300), (300, 700), (10, 0), (500, 500)]:
        step = Step(start, *(Level.from_alpha_bar(alphas_cumprod[t].item()) for t in (start, end)))
        assert relative_error(ddim_step(at(start), x_0, NOISE, step, clip=False), at(end)) < 1e-6


def test_clipping_limits_x_0_and_derives_the_noise_again():
    x_t, x_0, eps = (torch.full((1, 1, 1, 1), value) for value in (2.0, 2 * 2**0.5, 0.0))
    assert ddim_step(x_t, x_0, eps, Step(0, HALF, CLEAN), clip=True).item() == 1
    noise = ddim_step(x_t, x_0, eps, Step(0, HALF, PURE_NOISE), clip=True)
    assert noise.item() == pytest.approx((2 - 0.5**0.5) / 0.5**0.5)


def test_a_clean_image_is_moved_along_the_noise_that_is_seen_in_it():
    """Where ᾱ = 1 nothing can be derived from x_0, clipped or not."""
    x_0, eps = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), 2.0)
    moved = ddim_step(x_0, x_0, eps, Step(0, CLEAN, Level.from_alpha_bar(0.64)), clip=True)
    assert moved.item() == pytest.approx(0.8 * 0.5 + 0.6 * 2.0)


@pytest.mark.parametrize("predicted", ["eps", "x_0", "v"])
@pytest.mark.parametrize("clip", [True, False])
def test_a_point_mass_is_sampled_and_inverted_alike_whatever_is_predicted(predicted, clip, relative_error):
    """The perfect denoisers of ε, of x_0 and of v are one; ε from x_0 loses digits where there is little noise."""
    perfect = point_mass("cosine")

    def network(x_t, t, y):
        eps = perfect.network(x_t, t, y)[:, :3]
        index = (t * 2).round().long()
        signal, noise = (x[index].float()[:, None, None, None] for x in (perfect.levels.alphas, perfect.levels.sigmas))
        return {"eps": eps, "x_0": (x_t - noise * eps) / signal, "v": signal * eps - noise * POINT}[predicted]

    denoiser = dataclasses.replace(perfect, network=network, prediction_type=predicted)
    ddim = Ddim(10, clip=clip)
    for direction, start in ((ddim.sample, NOISE), (ddim.invert, POINT[None] + 0.01 * NOISE)):
        for x, expected in zip(direction(denoiser, start), direction(perfect, start), strict=True):
            assert relative_error(x, expected) < 1e-3


@pytest.mark.parametrize(("direction", "order"), [(Ddim.sample, -1), (Ddim.invert, 1)])
def test_the_network_sees_scaled_timesteps_in_order_and_the_classes(direction, order):
    seen, y = [], torch.tensor([3, 4])
    assert len(list(direction(Ddim(10), point_mass("cosine", seen), NOISE, y))) == 10
    assert [t for t, _ in seen] == [[50.0 * i] for i in range(10)][::order]
    assert all(labels is y for _, labels in seen)
