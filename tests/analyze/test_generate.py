"""Tests of batched sampling and inversion, whose results must not depend on the batch size."""

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from analyze.generate import (
    SELF_INTERPOLATION,
    TRAJECTORY_POINTS,
    in_batches,
    invert,
    sample,
    self_interpolations,
    slerp,
    trajectory,
    trajectory_steps,
)
from configs.errors import UserError
from configs.schema import Analyze, Diffusion
from diffusion.denoiser import Denoiser
from diffusion.randomness import fixed_noise
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state

LEVELS = Schedule.from_config(Diffusion()).levels
NOISE = fixed_noise((3, 8, 8), 7, seed=3)


@pytest.fixture(scope="module")
def denoiser(random_unet) -> Denoiser:
    """Return a class-conditional denoiser with random weights."""
    return Denoiser(random_unet(num_classes=4), LEVELS, (3, 8, 8), 0.25, 4, torch.device("cpu"))


def with_options(**changed) -> Analyze:
    return dataclasses.replace(Analyze(samples=7, ddim_steps=4, batch_size=7, noise_seed=3), **changed)


def run_ddim(function, denoisers: list[Denoiser], inputs: Tensor, **changed) -> Tensor:
    """Return the result of `sample`, `invert` or `trajectory` with DDIM under changed options."""
    options = with_options(**changed)
    return function(denoisers, Ddim(options.ddim_steps, clip=options.clip_denoised), inputs, options)


@pytest.mark.parametrize("clip", [True, False])
def test_samples_and_latents_equal_those_of_ddim(clip, denoiser):
    """By default, labels cycle through all classes."""
    samples = run_ddim(sample, [denoiser], NOISE, clip_denoised=clip)
    latents = run_ddim(invert, [denoiser], samples, clip_denoised=clip)
    ddim, y = Ddim(4, clip=clip), torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert torch.equal(samples, final_state(ddim.sample(denoiser, NOISE, y)))
    assert torch.equal(latents, final_state(ddim.invert(denoiser, samples, y)))
    assert (samples.abs().max() <= 1) == clip


@pytest.mark.parametrize(("precision", "inside"), [("tf32", "high"), ("fp32", "highest")])
def test_only_the_network_is_computed_in_tf32(precision, inside, denoiser):
    """In matrix products and in convolutions."""
    seen = []

    def settings():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def run(denoiser, batch, y):
        seen.append(settings())
        return batch

    in_batches([denoiser], NOISE, with_options(precision=precision), run)
    assert seen == [(inside, precision == "tf32")] and settings() == ("highest", False)


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_results_do_not_depend_on_the_batch_size(batch_size, denoiser, relative_error):
    """Up to rounding errors, which the first step of the inversion amplifies by √(ᾱ / (1 − ᾱ)) = 320."""
    samples = run_ddim(sample, [denoiser], NOISE)
    for function, inputs, tolerance in [(sample, NOISE, 1e-5), (invert, samples, 1e-4), (trajectory, NOISE, 1e-5)]:
        batched = run_ddim(function, [denoiser], inputs, batch_size=batch_size)
        assert relative_error(batched, run_ddim(function, [denoiser], inputs)) < tolerance


def test_several_devices_share_the_batches(denoiser, relative_error):
    """Results are in the order of the inputs, with the right labels."""
    batch_sizes: list[list[int]] = [[], []]

    def record(calls: list[int]) -> Denoiser:
        def network(x_t, t, y):
            calls.append(len(x_t))
            return denoiser.network(x_t, t, y)

        return dataclasses.replace(denoiser, network=network)

    shared = run_ddim(sample, [record(calls) for calls in batch_sizes], NOISE, batch_size=2)
    assert relative_error(shared, run_ddim(sample, [denoiser], NOISE, batch_size=2)) < 1e-5
    assert sum(map(sum, batch_sizes)) == 7 * 4 and all(batch_sizes)


@pytest.mark.parametrize("broken", [1, 2])
def test_an_error_on_any_device_is_raised(broken, denoiser):
    def network(x_t, t, y):
        raise RuntimeError("out of memory")

    denoisers = [dataclasses.replace(denoiser, network=network)] * broken + [denoiser] * (2 - broken)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_ddim(sample, denoisers, NOISE, batch_size=1)


def test_labels_cycle_through_the_chosen_classes(denoiser):
    y = torch.tensor([2, 0, 2, 0, 2, 0, 2])
    samples = run_ddim(sample, [denoiser], NOISE, labels=[2, 0])
    assert torch.equal(samples, final_state(Ddim(4).sample(denoiser, NOISE, y)))
    with pytest.raises(UserError, match="there is no class 4; the classes are 0 to 3"):
        run_ddim(sample, [denoiser], NOISE, labels=[4])


def test_more_samples_do_not_change_the_first_ones(denoiser, relative_error):
    fewer, more = (run_ddim(sample, [denoiser], noise) for noise in (NOISE[:4], NOISE))
    assert relative_error(fewer, more[:4]) < 1e-5


def test_a_trajectory_starts_at_the_noise_and_ends_at_the_image(denoiser):
    states = run_ddim(trajectory, [denoiser], NOISE)
    assert states.shape == (5, 7, 3, 8, 8)
    assert torch.equal(states[0], NOISE) and torch.equal(states[-1], run_ddim(sample, [denoiser], NOISE))


@pytest.mark.parametrize("ddim_steps", [2, 10, 24, 25, 100, 4000])
def test_points_of_a_trajectory_are_evenly_spaced(ddim_steps):
    steps = trajectory_steps(ddim_steps)
    gaps = {b - a for a, b in itertools.pairwise(steps)}
    assert steps[0] == 0 and steps[-1] == ddim_steps and len(steps) == min(TRAJECTORY_POINTS, ddim_steps + 1)
    assert max(gaps) - min(gaps) <= 1 and min(gaps) >= 1


def test_a_batch_that_does_not_fit_into_the_memory_names_the_option(denoiser):
    def network(x_t, t, y):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    with pytest.raises(UserError, match=r"memory of cpu is too small for batches of 7 .*analyze\.batch_size=3 or less"):
        sample([dataclasses.replace(denoiser, network=network)], Ddim(4), NOISE, with_options())


@pytest.mark.parametrize("number, clip", [("nan", True), ("nan", False), ("inf", False)])
def test_outputs_that_are_not_finite_are_rejected(number, clip, denoiser):
    """A single pixel suffices, and clipping does not hide a NaN."""

    def network(x_t, t, y):
        eps = torch.zeros_like(x_t)
        eps[-1, 0, 0, 0] = float(number)
        return eps

    with pytest.raises(UserError, match="not finite"):
        run_ddim(sample, [dataclasses.replace(denoiser, network=network)], NOISE, clip_denoised=clip)


def test_points_between_orthogonal_vectors_are_on_the_arc():
    start, end = torch.zeros(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    start[:, 0, 0, 0], end[:, 0, 1, 1] = 3, 3
    points = slerp(start, end, (0, 1 / 3, 0.5, 1))
    assert points.shape == (4, 2, 1, 2, 2)
    torch.testing.assert_close(points[[0, 3]], torch.stack([start, end]))
    torch.testing.assert_close(points.flatten(2).norm(dim=2), torch.full((4, 2), 3.0))
    torch.testing.assert_close(points[1], math.cos(math.pi / 6) * start + math.sin(math.pi / 6) * end)


def test_points_between_parallel_vectors_are_on_the_line():
    lambdas = (0, 0.25, 0.5, 1)
    for factor in (1, 0.4):
        points = slerp(NOISE, factor * NOISE, lambdas)
        expected = torch.stack([(1 - λ + λ * factor) * NOISE for λ in lambdas])
        torch.testing.assert_close(points, expected, rtol=1e-5, atol=1e-6)


def test_points_between_independent_noises_are_as_long_as_noise():
    points = slerp(NOISE, fixed_noise((3, 8, 8), 7, seed=4), (0, 0.5, 1))
    start, middle, end = points.flatten(2).norm(dim=2)
    assert middle.mean() == pytest.approx((start + end).mean().item() / 2, rel=0.1)


def test_self_interpolations_are_sampled_with_the_labels_of_their_noises(denoiser):
    options, solver, latents = with_options(batch_size=3), Ddim(4, clip=True), NOISE.flip(2)
    images = self_interpolations([denoiser], solver, NOISE, latents, options)
    points = slerp(NOISE, latents, SELF_INTERPOLATION)
    for i in (0, 3, 6):
        torch.testing.assert_close(images[i], sample([denoiser], solver, points[i], options))
    torch.testing.assert_close(images[0], sample([denoiser], solver, NOISE, options))
