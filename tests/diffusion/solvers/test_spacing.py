"""The steps of DDIM: improved-diffusion's stride, there and back."""

import itertools

import pytest

from configs.checks import reachable_ddim_steps
from configs.schema import Diffusion
from diffusion.levels import CLEAN, PURE_NOISE
from diffusion.schedule import Schedule
from diffusion.solvers.spacing import StridedSpacing, ddim_timesteps


@pytest.mark.parametrize("steps", [10, 100])
def test_ddim_timesteps_are_improved_diffusions(steps, unet32):
    assert ddim_timesteps(4000, steps) == unet32[f"ddim{steps}_timesteps"].tolist()


@pytest.mark.parametrize("schedule_steps", [10, 97, 1000, 4000])
def test_ddim_takes_exactly_the_steps_that_the_configuration_allows(schedule_steps):
    """`reachable_ddim_steps` and `ddim_timesteps` draw the same line."""
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
    there, back = spacing.sampling(levels, 10), spacing.inversion(levels, 10)
    assert (
        [step.timestep for step in there] == [step.timestep for step in reversed(back)] == list(range(3600, -1, -400))
    )
    assert there[-1].end == CLEAN and back[-1].end == PURE_NOISE
    for steps in (there, back):
        assert all(one.end == other.start for one, other in itertools.pairwise(steps))
        assert [step.start for step in steps] == [levels[step.timestep] for step in steps]
