"""Timesteps and levels of diffusers' schedulers, and all solvers under them."""

import math
from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
)

from diffusion.denoiser import Denoiser
from diffusion.solvers import INVERTERS
from diffusion.solvers.coupled import last_states
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.dpm_solver import DpmSolver
from diffusion.solvers.implicit import predict_eps, transfer
from diffusion.solvers.solver import Solver, final_state
from models.components import load_scheduler
from models.schedulers import Process, open_process

ENDS_WITH_NULL_STEP = PNDMScheduler()  # which has set_alpha_to_one=False and steps_offset=0
ENDS_WITH_NOISE = DDIMScheduler(beta_schedule="scaled_linear", set_alpha_to_one=False, steps_offset=1)
SCHEDULERS = {
    "null step": ENDS_WITH_NULL_STEP,
    "Stable Diffusion": ENDS_WITH_NOISE,
    "linspace": DDIMScheduler(timestep_spacing="linspace"),
    "trailing": DDIMScheduler(timestep_spacing="trailing"),
}
COUPLED = ["BDIA", "O-BELM", "EDICT", "Rex (Euler)", "Rex (midpoint)", "Rex (RK4)"]
LOSSY = ("naive (improved-diffusion)", "EasyInv")  # end at ε = 0, mix states
T = 30  # which does not divide 1,000
X_T = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def opened(scheduler, folder) -> Process:
    """Save a scheduler, which makes its defaults explicit, and open it."""
    scheduler.save_pretrained(folder)
    return open_process(
        folder, load_scheduler(folder, {"scheduler": type(scheduler).__name__}), tokens=0, from_one=False
    )


@pytest.fixture
def denoiser(trained32):
    """Return a function that returns a smooth denoiser with the levels of a process, in float64."""

    def with_levels(process: Process, scale: float = 0.3) -> Denoiser:
        def network(x, t, y):
            return scale * torch.tanh(x.flip(1) + x.roll(1, -1)) * (1 + t.double()[:, None, None, None] / 1000)

        return replace(trained32.denoiser, levels=process.levels, network=network, clip=False, timestep_scale=1.0)

    return with_levels


def listed(name: str, process: Process) -> Solver:
    return INVERTERS[name].build(2, steps=T, spacing=process.spacing, clip=False)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", INVERTERS)
def test_every_method_is_defined_under_every_spacing(name, scheduler, denoiser, tmp_path):
    process = opened(SCHEDULERS[scheduler], tmp_path)
    solver, model = listed(name, process), denoiser(process)
    x_0 = final_state(Ddim(T, process.spacing).sample(model, X_T))
    assert final_state(solver.sample(model, X_T)).isfinite().all()
    assert final_state(solver.invert(model, x_0)).isfinite().all()


@pytest.mark.parametrize("name", [name for name in INVERTERS if name not in LOSSY])
def test_every_method_inverts_an_untrained_network(name, denoiser, tmp_path):
    """Its output is 0, so that every first guess is exact."""
    process = opened(ENDS_WITH_NOISE, tmp_path)
    solver, model = listed(name, process), denoiser(process, scale=0.0)
    x_hat = final_state(solver.invert(model, final_state(solver.sample(model, X_T))))
    torch.testing.assert_close(x_hat, X_T, rtol=0.05, atol=0.05)  # forward start draws noise


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", COUPLED)
def test_coupled_solvers_are_exact_under_every_spacing(name, scheduler, denoiser, tmp_path):
    process = opened(SCHEDULERS[scheduler], tmp_path)
    solver, model = listed(name, process), denoiser(process)
    x_0, auxiliary = last_states(solver.sample_coupled(model, X_T))
    x_hat, _ = last_states(solver.invert_coupled(model, x_0, auxiliary))
    assert (x_hat - X_T).norm() < 1e-6 * X_T.norm()


def test_the_last_step_of_dpm_solver_is_of_order_1_to_any_level(denoiser, tmp_path):
    process = opened(ENDS_WITH_NOISE, tmp_path)
    solver, model = DpmSolver(4, process.spacing), denoiser(process)
    *_, x_s, x_0 = solver.sample(model, X_T)
    last = process.spacing.sampling(process.levels, 4)[-1]
    eps = predict_eps(model, x_s, last.timestep, last.start)
    torch.testing.assert_close(x_0, transfer(x_s, eps, last.start, last.end))
    assert last.end.sigma > 0


@pytest.mark.parametrize("schedule", ["sigmoid", "laplace"])
def test_schedules_that_ddim_does_not_compute_are_taken_from_the_own_scheduler(schedule, tmp_path):
    own = DDPMScheduler(beta_schedule=schedule)
    process = opened(own, tmp_path)
    torch.testing.assert_close(process.levels.alphas**2, own.alphas_cumprod.double())
    assert len(process.spacing.sampling(process.levels, 10)) == len(process.spacing.inversion(process.levels, 10)) == 10


def test_a_timestep_below_0_is_rejected(tmp_path):
    """Rounding gives T = 61 a 62nd timestep."""
    process = opened(SCHEDULERS["trailing"], tmp_path)
    with pytest.raises(ValueError, match="leads to timestep -1, which the model does not have"):
        process.spacing.sampling(process.levels, 61)


def test_an_infinite_option_that_ddim_does_not_use_is_accepted(tmp_path):
    scheduler = DPMSolverMultistepScheduler()
    assert scheduler.config.lambda_min_clipped == -math.inf
    assert len(opened(scheduler, tmp_path).levels) == 1000
