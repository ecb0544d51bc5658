"""Tests of the timestep spacing of DDIM against improved-diffusion."""

import itertools

import pytest

from configs.checks import reachable_ddim_steps
from configs.schema import Diffusion
from diffusion.levels import CLEAN, PURE_NOISE
from diffusion.schedule import Schedule
from diffusion.solvers.spacing import StridedSpacing, ddim_timesteps


@pytest.mark.parametrize("steps", [10, 100])
def test_ddim_timesteps_equal_improved_diffusion(steps, unet32):
    assert ddim_timesteps(4000, steps) == unet32[f"ddim{steps}_timesteps"].tolist()


@pytest.mark.parametrize("schedule_steps", [10, 97, 1000, 4000])
def test_exactly_the_steps_that_the_configuration_allows_have_a_stride(schedule_steps):
    """`ddim_timesteps` raises an error exactly for the numbers that `reachable_ddim_steps` excludes."""
    for steps in range(2, schedule_steps + 1):
        if steps not in reachable_ddim_steps(schedule_steps):
            with pytest.raises(ValueError, match="no integer stride"):
                ddim_timesteps(schedule_steps, steps)
            continue
        timesteps = ddim_timesteps(schedule_steps, steps)
        strides = {b - a for a, b in itertools.pairwise(timesteps)}
        assert len(timesteps) == steps and timesteps[0] == 0 and timesteps[-1] < schedule_steps and len(strides) == 1


def test_sampling_ends_at_the_image_and_inversion_at_pure_noise():
    levels, spacing = Schedule.from_config(Diffusion()).levels, StridedSpacing()
    sampling, inversion = spacing.sampling(levels, 10), spacing.inversion(levels, 10)
    timesteps = list(range(3600, -1, -400))
    assert [step.timestep for step in sampling] == [step.timestep for step in reversed(inversion)] == timesteps
    assert sampling[-1].end == CLEAN and inversion[-1].end == PURE_NOISE
    for steps in (sampling, inversion):
        assert all(step.end == following.start for step, following in itertools.pairwise(steps))
        assert [step.start for step in steps] == [levels[step.timestep] for step in steps]
