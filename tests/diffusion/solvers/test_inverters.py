"""Every inverter against what its authors' code computes for the same image in double precision."""

import dataclasses
import functools

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffusion.denoiser import Denoiser
from diffusion.levels import NoiseLevels
from diffusion.solvers import INVERTERS
from diffusion.solvers.aidi import AidiAnderson, AidiEmpirical
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.bdia import Bdia
from diffusion.solvers.belm import OBelm
from diffusion.solvers.coupled import CoupledSolver, last_states
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.dpm_forward_step import DpmForwardStep
from diffusion.solvers.dpm_solver import DpmSolver
from diffusion.solvers.easyinv import EasyInv
from diffusion.solvers.edict import Edict
from diffusion.solvers.fixed_point import FixedPoint
from diffusion.solvers.forward_start import ForwardStart
from diffusion.solvers.forward_step import ForwardStep
from diffusion.solvers.gnri import Gnri
from diffusion.solvers.naive import Naive
from diffusion.solvers.newton_krylov import NewtonKrylov
from diffusion.solvers.renoise import ReNoise
from diffusion.solvers.rex import Rex
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
GOLDEN: dict[str, tuple[str, Solver]] = {  # by name: the sampler of the image, and the inverter
    "naive_improved_diffusion": ("ddim", Ddim(T)),
    "naive_improved_diffusion_clip": ("ddim_clip", Ddim(T, clip=True)),
    "naive_diffusers": ("ddim", Naive(T)),
    "fpi_1": ("ddim", FixedPoint(T, rounds=1)),
    "fpi_3": ("ddim", FixedPoint(T, rounds=3)),
    "fpi_10": ("ddim", FixedPoint(T, rounds=10)),
    "aidi_anderson_2": ("ddim", AidiAnderson(T, rounds=2)),
    "aidi_anderson_5": ("ddim", AidiAnderson(T, rounds=5)),
    "aidi_empirical_5": ("ddim", AidiEmpirical(T, rounds=5)),
    "renoise_9": ("ddim", ReNoise(T)),
    "renoise_9_max_first9": ("ddim", ReNoise(T, first_rounds=9)),
    "gnri_2": ("ddim", Gnri(T, rounds=2)),
    "gnri_10": ("ddim", Gnri(T, rounds=10)),
    "hong_order1": ("ddim", ForwardStep(T)),
    "hong_order2": ("dpmpp2m_4_steps", DpmForwardStep(4, EndingAtFirstTimestep())),
    "newton_gmres_1x4": ("ddim", NewtonKrylov(T, newton_steps=1, krylov_steps=4)),
    "easyinv_sdxl": ("ddim", EasyInv(T)),
    "dpmpp2m_diffusers_zero": ("dpmpp2m_zero", DpmSolver(T, order=2)),
}
COUPLED: dict[str, tuple[str, CoupledSolver]] = {
    "edict_aux": ("edict", Edict(T)),
    "edict_noaux": ("edict", Edict(T)),
    "edict_on_ddim": ("ddim", Edict(T)),
    "bdia_0.5_aux": ("bdia_0.5", Bdia(T, gamma=0.5)),
    "bdia_1.0_noaux": ("bdia_1.0", Bdia(T)),
    "obelm_aux": ("obelm", OBelm(T)),
    "obelm_noaux": ("obelm", OBelm(T)),
    "rex_euler_noaux": ("rex_euler", Rex(T, tableau="euler")),
    "rex_rk4_aux": ("rex_rk4", Rex(T)),
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
    return dataclasses.replace(trained32.denoiser, network=network, clip=False)


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
        ("dpmpp2m_zero", DpmSolver(T, order=2)),
        ("edict", Edict(T)),
        ("bdia_0.5", Bdia(T, gamma=0.5)),
        ("bdia_1.0", Bdia(T)),
        ("obelm", OBelm(T)),
        ("rex_euler", Rex(T, tableau="euler")),
        ("rex_rk4", Rex(T)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samplers_match_their_authors_code(sampler, solver, golden, denoiser, relative_error):
    x_0 = final_state(solver.sample(denoiser, tensor(golden, "x_T")))
    assert relative_error(x_0, tensor(golden, f"{sampler}/x_0")) < 2e-6


@pytest.mark.parametrize("replaced", [1, 3])
def test_forward_start_matches_the_authors_code(replaced, golden, denoiser, relative_error):
    noise = tensor(golden, "taba_forward/noise")
    solver = ForwardStart(T, replaced=replaced, draw_noise=lambda images: noise)
    latent = final_state(solver.invert(denoiser, tensor(golden, "ddim/x_0")))
    assert relative_error(latent, tensor(golden, f"taba_forward{replaced}/latent")) < DOUBLE
    assert solver.inversion_evaluations == golden[f"taba_forward{replaced}/nfe"]


@pytest.mark.parametrize(
    "solver", [Edict(T), Bdia(T), OBelm(T), Rex(T, tableau="euler")], ids=lambda solver: type(solver).__name__
)
def test_coupled_solvers_are_exact_with_their_auxiliary_state(solver, golden, denoiser):
    x_T = tensor(golden, "x_T")
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
        (1, 4.2 / 5),  # a fifth of naive inversion
        (2, 1.39 / 20),  # a twentieth of fixed-point iteration, the best published method with 40 evaluations
        (5, 0.00447 / 20),  # a twentieth of AIDI with 120 evaluations
        (10, 1e-6),
    ],
)
def test_anderson_is_many_times_more_accurate_than_published_methods(rounds, bound, golden, denoiser):
    calls: list[int] = []
    counting = add_call_hook(denoiser, calls.append)
    latent = final_state(Anderson(T, rounds=rounds).invert(counting, tensor(golden, "ddim/x_0")))
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
