"""Inverters against what their authors' code computes for the same image in double precision."""

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffusion.denoiser import Denoiser
from diffusion.levels import NoiseLevels
from diffusion.solvers import INVERTERS
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.bdia import Bdia
from diffusion.solvers.coupled import CoupledSolver, last_states
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.forward_start import ForwardStart
from diffusion.solvers.renoise import ReNoise
from diffusion.solvers.solver import Solver, Step, final_state
from diffusion.solvers.spacing import StridedSpacing
from models import unet
from models.source import add_call_hook


class EndingAtFirstTimestep(StridedSpacing):
    """Sampling that ends at the noise level of timestep 0 instead of a clean image."""

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        return super().sampling(levels, steps)[:-1]


T = 20
DOUBLE = 1e-6  # the stored latents are rounded to float32


def listed(name: str, rounds: int = 0) -> Any:
    """Return a solver as the comparison builds it, which leaves the method's own options at their defaults."""
    return INVERTERS[name].build(rounds, steps=T, spacing=StridedSpacing(), clip=None)


GOLDEN: dict[str, tuple[str, Solver]] = {  # by name: the sampler of the image, and the inverter
    "naive_improved_diffusion": ("ddim", listed("naive (improved-diffusion)")),
    "naive_improved_diffusion_clip": ("ddim_clip", Ddim(T, clip=True)),
    "naive_diffusers": ("ddim", listed("naive (diffusers)")),
    "fpi_1": ("ddim", listed("fixed point", 1)),
    "fpi_3": ("ddim", listed("fixed point", 3)),
    "fpi_10": ("ddim", listed("fixed point", 10)),
    "aidi_anderson_2": ("ddim", listed("AIDI (Anderson)", 2)),
    "aidi_anderson_5": ("ddim", listed("AIDI (Anderson)", 5)),
    "aidi_empirical_5": ("ddim", listed("AIDI (empirical)", 5)),
    "renoise_9": ("ddim", listed("ReNoise", 9)),
    "renoise_9_max_first9": ("ddim", ReNoise(T, first_rounds=9)),
    "gnri_2": ("ddim", listed("GNRI", 2)),
    "gnri_10": ("ddim", listed("GNRI", 10)),
    "hong_order1": ("ddim", listed("forward step", 500)),
    "hong_order2": (
        "dpmpp2m_4_steps",
        replace(listed("forward step (2M)", 500), steps=4, spacing=EndingAtFirstTimestep()),
    ),
    "newton_gmres_1x4": ("ddim", listed("Newton–Krylov", 4)),
    "easyinv_sdxl": ("ddim", listed("EasyInv")),
    "dpmpp2m_diffusers_zero": ("dpmpp2m_zero", listed("DPM-Solver++(2M)")),
}
COUPLED: dict[str, tuple[str, CoupledSolver]] = {
    "edict_aux": ("edict", listed("EDICT")),
    "edict_noaux": ("edict", listed("EDICT")),
    "edict_on_ddim": ("ddim", listed("EDICT")),
    "bdia_0.5_aux": ("bdia_0.5", Bdia(T, gamma=0.5)),
    "bdia_1.0_noaux": ("bdia_1.0", listed("BDIA")),
    "obelm_aux": ("obelm", listed("O-BELM")),
    "obelm_noaux": ("obelm", listed("O-BELM")),
    "rex_euler_noaux": ("rex_euler", listed("Rex (Euler)")),
    "rex_rk4_aux": ("rex_rk4", listed("Rex (RK4)")),
}


@pytest.fixture(scope="module")
def golden(repository) -> dict[str, np.ndarray]:
    with np.load(repository / "tests" / "reference" / "inverters.npz") as file:
        return dict(file)


@pytest.fixture
def denoiser(trained32, monkeypatch) -> Denoiser:
    """The trained reference network computing in double precision; only its time embedding stays in float32."""
    embedding = unet.timestep_embedding
    monkeypatch.setattr(unet, "timestep_embedding", lambda *arguments: embedding(*arguments).double())
    monkeypatch.setattr(unet.GroupNorm, "forward", nn.GroupNorm.forward)
    network = type(trained32.network)(trained32.network.config, 6)
    network.load_state_dict(trained32.network.state_dict())
    network = network.double().eval().requires_grad_(False)
    return replace(trained32.denoiser, network=network, clip=False)


def tensor(golden: dict[str, np.ndarray], name: str) -> Tensor:
    return torch.from_numpy(golden[name]).double()


@pytest.mark.parametrize("name", GOLDEN)
def test_inverters_match_their_authors_code(name, golden, denoiser, relative_error):
    sampler, solver = GOLDEN[name]
    calls: list[int] = []
    latent = final_state(solver.invert(add_call_hook(denoiser, calls.append), tensor(golden, f"{sampler}/x_0")))
    assert relative_error(latent, tensor(golden, f"{name}/latent")) < DOUBLE
    assert sum(calls) == golden[f"{name}/nfe"]
    assert solver.inversion_evaluations >= golden[f"{name}/nfe"]


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_inverters_match_their_authors_code(name, golden, denoiser, relative_error):
    sampler, solver = COUPLED[name]
    auxiliary = tensor(golden, f"{sampler}/auxiliary") if name.endswith("_aux") else None
    calls: list[int] = []
    states = solver.invert_coupled(add_call_hook(denoiser, calls.append), tensor(golden, f"{sampler}/x_0"), auxiliary)
    assert relative_error(last_states(states)[0], tensor(golden, f"{name}/latent")) < DOUBLE
    assert sum(calls) == golden[f"{name}/nfe"]


@pytest.mark.parametrize(
    ("sampler", "solver"),
    [
        ("ddim", Ddim(T)),
        ("dpmpp2m_zero", listed("DPM-Solver++(2M)")),
        ("edict", listed("EDICT")),
        ("bdia_0.5", Bdia(T, gamma=0.5)),
        ("bdia_1.0", listed("BDIA")),
        ("obelm", listed("O-BELM")),
        ("rex_euler", listed("Rex (Euler)")),
        ("rex_rk4", listed("Rex (RK4)")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samplers_match_their_authors_code(sampler, solver, golden, denoiser, relative_error):
    x_0 = final_state(solver.sample(denoiser, tensor(golden, "x_T")))
    assert relative_error(x_0, tensor(golden, f"{sampler}/x_0")) < 2e-6


@pytest.mark.parametrize("replaced", [1, 3])
def test_forward_start_matches_the_authors_code(replaced, golden, denoiser, relative_error):
    noise = tensor(golden, "taba_forward/noise")
    solver = replace(listed("forward start"), replaced=replaced, draw_noise=lambda images: noise)
    latent = final_state(solver.invert(denoiser, tensor(golden, "ddim/x_0")))
    assert relative_error(latent, tensor(golden, f"taba_forward{replaced}/latent")) < DOUBLE
    assert solver.inversion_evaluations == golden[f"taba_forward{replaced}/nfe"]


@pytest.mark.parametrize("name", ["EDICT", "BDIA", "O-BELM", "Rex (Euler)"])
def test_coupled_solvers_are_exact_with_their_auxiliary_state(name, golden, denoiser):
    solver, x_T = listed(name), tensor(golden, "x_T")
    x_0, auxiliary = last_states(solver.sample_coupled(denoiser, x_T))
    x_hat, _ = last_states(solver.invert_coupled(denoiser, x_0, auxiliary))
    assert (x_hat - x_T).norm() < 1e-8 * x_T.norm()


def test_forward_noise_depends_on_the_image_and_the_seed_only():
    images = torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    draw = ForwardStart(4).draw_noise
    assert torch.equal(draw(images)[1:2], draw(images[1:2])) and not torch.equal(draw(images)[0], draw(images)[1])
    assert isinstance(draw, functools.partial) and draw.keywords == {"seed": 0}


@pytest.mark.parametrize(
    ("rounds", "bound"),
    [
        (1, 1.3 * 0.406),  # naive inversion: 4.3
        (2, 1.3 * 0.0125),  # fixed-point iteration, the best published method with 40 evaluations: 1.39
        (5, 1.3 * 4.49e-5),  # AIDI with 120 evaluations: 0.0043
        (10, 1e-8),
    ],
)
def test_anderson_is_many_times_more_accurate_than_published_methods(rounds, bound, golden, denoiser):
    """Each bound is 1.3 times the distance to x_T when it was measured, except in the last case."""
    calls: list[int] = []
    counting = add_call_hook(denoiser, calls.append)
    latent = final_state(listed("extrapolated Anderson", rounds).invert(counting, tensor(golden, "ddim/x_0")))
    assert (latent - tensor(golden, "x_T")).norm() < bound
    assert sum(calls) == rounds * T


def test_anderson_with_a_tolerance_is_exact_and_spends_no_round_on_solved_images(golden, denoiser):
    """Sampling from the latent returns the image to 1e-10, and converged images take no further evaluation."""
    x_0, calls = tensor(golden, "ddim/x_0"), list[int]()
    solver = Anderson(T, rounds=40, tolerance=1e-14)
    latent = final_state(solver.invert(add_call_hook(denoiser, calls.append), x_0))
    assert (final_state(Ddim(T).sample(denoiser, latent)) - x_0).abs().max() < 1e-10
    assert sum(calls) < 15 * T


def test_anderson_treats_images_independently(golden, denoiser, relative_error):
    pair = torch.cat([tensor(golden, "ddim/x_0"), tensor(golden, "edict/x_0")])
    solver = Anderson(T, rounds=5, tolerance=1e-3)
    together = final_state(solver.invert(denoiser, pair))
    alone = torch.cat([final_state(solver.invert(denoiser, image[None])) for image in pair])
    assert relative_error(together, alone) < 1e-9


def test_inverters_leave_the_images_unchanged(golden, denoiser):
    x_0 = tensor(golden, "ddim/x_0")
    before = x_0.clone()
    for name in ("extrapolated Anderson", "forward step"):
        next(iter(INVERTERS[name].build(2, steps=T, spacing=StridedSpacing(), clip=None).invert(denoiser, x_0)))
    assert torch.equal(x_0, before)
