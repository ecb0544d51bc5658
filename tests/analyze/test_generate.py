"""Images, latents and trajectories: DDIM on batches, the same for every batch size."""

import dataclasses
import itertools

import pytest
import torch

from analyze.generate import TRAJECTORY_POINTS, invert, sample, trajectory, trajectory_steps
from configs.errors import UserError
from configs.schema import Analyze, Diffusion
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state

OPTIONS = Analyze(samples=7, ddim_steps=4, batch_size=7, noise_seed=3)
LEVELS = Schedule.from_config(Diffusion()).levels


@pytest.fixture(scope="module")
def denoiser(random_unet) -> Denoiser:
    """A class-conditional one with random weights."""
    return Denoiser(random_unet(num_classes=4), LEVELS, (3, 8, 8), 0.25, 4, torch.device("cpu"))


def ddim(options: Analyze) -> Ddim:
    return Ddim(options.ddim_steps, clip=options.clip_denoised)


NOISE = fixed_noise((3, 8, 8), 7, seed=3)


def with_options(**changed) -> Analyze:
    return dataclasses.replace(OPTIONS, **changed)


@pytest.mark.parametrize("clip", [True, False])
def test_samples_and_latents_are_ddims(clip, denoiser):
    """Of the noise that is given, the classes taken in turn."""
    options = with_options(clip_denoised=clip)
    samples = sample([denoiser], ddim(options), NOISE, options)
    y = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert torch.equal(samples, final_state(Ddim(4, clip=clip).sample(denoiser, NOISE, y)))
    assert torch.equal(
        invert([denoiser], ddim(options), samples, options),
        final_state(Ddim(4, clip=clip).invert(denoiser, samples, y)),
    )
    assert (samples.abs().max() <= 1) == clip


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_the_batch_size_does_not_matter(batch_size, denoiser, relative_error):
    """Beyond rounding, which the first step of the inversion enlarges by √(ᾱ / (1 − ᾱ)) = 320."""
    options, expected = with_options(batch_size=batch_size), sample([denoiser], ddim(OPTIONS), NOISE, OPTIONS)
    assert relative_error(sample([denoiser], ddim(options), NOISE, options), expected) < 1e-5
    assert (
        relative_error(
            invert([denoiser], ddim(options), expected, options), invert([denoiser], ddim(OPTIONS), expected, OPTIONS)
        )
        < 1e-4
    )
    assert (
        relative_error(
            trajectory([denoiser], ddim(options), NOISE, options), trajectory([denoiser], ddim(OPTIONS), NOISE, OPTIONS)
        )
        < 1e-5
    )


def test_several_devices_share_the_batches(denoiser, relative_error):
    """Each batch is made on one of them, and all come back in their places with their classes."""
    asked: list[list[int]] = [[], []]

    def noting(calls):
        def network(x_t, t, y):
            calls.append(len(x_t))
            return denoiser.network(x_t, t, y)

        return dataclasses.replace(denoiser, network=network)

    both, options = [noting(calls) for calls in asked], with_options(batch_size=2)
    assert (
        relative_error(sample(both, ddim(options), NOISE, options), sample([denoiser], ddim(options), NOISE, options))
        < 1e-5
    )
    assert sum(map(sum, asked)) == 7 * 4 and all(asked)


@pytest.mark.parametrize("broken", [1, 2])
def test_an_error_on_some_of_several_devices_is_raised(broken, denoiser):
    def network(x_t, t, y):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        both = [dataclasses.replace(denoiser, network=network)] * broken + [denoiser] * (2 - broken)
        sample(both, ddim(with_options(batch_size=1)), NOISE, with_options(batch_size=1))


def test_chosen_classes_are_taken_in_turn(denoiser):
    y = torch.tensor([2, 0, 2, 0, 2, 0, 2])
    samples = sample([denoiser], ddim(with_options(labels=[2, 0])), NOISE, with_options(labels=[2, 0]))
    assert torch.equal(samples, final_state(Ddim(4).sample(denoiser, NOISE, y)))
    with pytest.raises(UserError, match="there is no class 4; the classes are 0 to 3"):
        sample([denoiser], ddim(with_options(labels=[4])), NOISE, with_options(labels=[4]))


def test_more_samples_leave_the_first_ones_alone(denoiser, relative_error):
    assert (
        relative_error(
            sample([denoiser], ddim(OPTIONS), NOISE[:4], OPTIONS), sample([denoiser], ddim(OPTIONS), NOISE, OPTIONS)[:4]
        )
        < 1e-5
    )


def test_a_trajectory_goes_from_the_noise_to_the_image(denoiser):
    path = trajectory([denoiser], ddim(OPTIONS), NOISE, OPTIONS)
    assert path.shape == (5, 7, 3, 8, 8)
    assert torch.equal(path[0], NOISE) and torch.equal(path[-1], sample([denoiser], ddim(OPTIONS), NOISE, OPTIONS))


@pytest.mark.parametrize("ddim_steps", [2, 10, 24, 25, 100, 4000])
def test_points_of_a_trajectory_are_spread_evenly(ddim_steps):
    steps = trajectory_steps(ddim_steps)
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert steps[0] == 0 and steps[-1] == ddim_steps and len(steps) == min(TRAJECTORY_POINTS, ddim_steps + 1)
    assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1


@pytest.mark.parametrize("number, clip", [("nan", True), ("nan", False), ("inf", False)])
def test_numbers_that_are_not_finite_are_refused(number, clip, denoiser):
    """One pixel is enough, and clipping does not hide what is not a number."""

    def network(x_t, t, y):
        eps = torch.zeros_like(x_t)
        eps[-1, 0, 0, 0] = float(number)
        return eps

    broken = dataclasses.replace(denoiser, network=network)
    with pytest.raises(UserError, match="not finite"):
        sample([broken], ddim(with_options(clip_denoised=clip)), NOISE, with_options(clip_denoised=clip))
