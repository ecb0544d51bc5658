"""Generations are a function of the weights, the fixed noise and the options of `analyze`, and come back as kept."""

import dataclasses

import pytest
import torch

from analyze.generate import generate, load, save
from configs.errors import UserError
from configs.schema import Analyze, Diffusion
from diffusion import ddim
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.schedule import Schedule

OPTIONS = Analyze(samples=7, ddim_steps=4, batch_size=7, noise_seed=3)
ALPHAS_CUMPROD = Schedule.of(Diffusion()).alphas_cumprod


@pytest.fixture(scope="module")
def denoiser(randomised) -> Denoiser:
    """A class-conditional one with random weights."""
    return Denoiser(randomised(num_classes=4), ALPHAS_CUMPROD, (3, 8, 8), 0.25, 4, torch.device("cpu"))


def with_options(**changed) -> Analyze:
    return dataclasses.replace(OPTIONS, **changed)


@pytest.mark.parametrize("clip", [True, False])
def test_samples_and_latents_are_ddims(clip, denoiser):
    """Of the fixed noise, the classes taken in turn."""
    made = generate(denoiser, with_options(clip_denoised=clip))
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert torch.equal(made.noise, fixed_noise((3, 8, 8), 7, seed=3))
    assert torch.equal(made.samples, ddim.last(ddim.sampling(denoiser, made.noise, 4, clip, y)))
    assert torch.equal(made.latents, ddim.last(ddim.inversion(denoiser, made.samples, 4, clip, y)))
    assert (made.samples.abs().max() <= 1) == clip


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_does_not_matter(batch_size, denoiser, relative_error):
    """Beyond rounding, which the first step of the inversion enlarges by √(ᾱ / (1 − ᾱ)) = 320."""
    made, expected = generate(denoiser, with_options(batch_size=batch_size)), generate(denoiser, OPTIONS)
    assert torch.equal(made.noise, expected.noise)
    assert relative_error(made.samples, expected.samples) < 1e-5
    assert relative_error(made.latents, expected.latents) < 1e-4


def test_more_samples_leave_the_first_ones_alone(denoiser, relative_error):
    few, many = generate(denoiser, with_options(samples=4)), generate(denoiser, OPTIONS)
    assert relative_error(few.samples, many.samples[:4]) < 1e-5
    assert relative_error(few.latents, many.latents[:4]) < 1e-4


@pytest.mark.parametrize("number, clip", [("nan", True), ("nan", False), ("inf", False)])
def test_numbers_that_are_not_finite_are_refused(number, clip, denoiser):
    """One pixel is enough, and clipping does not hide what is not a number."""

    def network(x_t, t, y):
        eps = torch.zeros_like(x_t)
        eps[-1, 0, 0, 0] = float(number)
        return eps

    broken = dataclasses.replace(denoiser, network=network)
    with pytest.raises(UserError, match="not finite"):
        generate(broken, with_options(clip_denoised=clip))


def test_what_was_kept_comes_back_bit_for_bit(denoiser, tmp_path):
    made = generate(denoiser, OPTIONS)
    save(made, tmp_path / "deep" / "one", made_from="digest")
    kept = load(tmp_path / "deep" / "one", OPTIONS)
    assert all(torch.equal(value, vars(made)[name]) for name, value in vars(kept).items())
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["one"]


@pytest.mark.parametrize("left", [None, 0, 5, 1000], ids=["no file", "empty", "five bytes", "cut off"])
def test_what_cannot_be_read_is_not_there(left, denoiser, tmp_path):
    if left is not None:
        save(generate(denoiser, OPTIONS), tmp_path / "one", made_from="digest")
        (tmp_path / "one").write_bytes((tmp_path / "one").read_bytes()[:left])
    assert load(tmp_path / "one", OPTIONS) is None
