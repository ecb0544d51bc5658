"""Samplers and their inverses, one file per method.

SOLVERS lists the solvers that a setting records by name. INVERTERS lists every method that is compared: a new one is
one file and one line.
"""

from collections.abc import Callable
from dataclasses import dataclass

from diffusion.solvers.aidi import AidiAnderson, AidiEmpirical
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.bdia import Bdia
from diffusion.solvers.belm import OBelm
from diffusion.solvers.ddim import Ddim
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
from diffusion.solvers.solver import Solver

SOLVERS: dict[str, Callable[..., Solver]] = {"ddim": Ddim}


@dataclass(frozen=True)
class Inverter:
    """A method and its numbers of rounds per step that are compared; (0,) if it has no rounds.

    `build(steps, rounds)` returns the solver.
    """

    build: Callable[[int, int], Solver]
    rounds: tuple[int, ...] = (0,)


INVERTERS = {
    "naive (improved-diffusion)": Inverter(lambda steps, _: Ddim(steps)),
    "naive (diffusers)": Inverter(lambda steps, _: Naive(steps)),
    "naive (BELM)": Inverter(lambda steps, _: Naive(steps, evaluate_at="start")),
    "forward start": Inverter(lambda steps, _: ForwardStart(steps)),
    "EasyInv": Inverter(lambda steps, _: EasyInv(steps)),
    "DPM-Solver++(2M)": Inverter(lambda steps, _: DpmSolver(steps, order=2)),
    "DPM-Solver++(3M)": Inverter(lambda steps, _: DpmSolver(steps, order=3)),
    "BDIA": Inverter(lambda steps, _: Bdia(steps)),
    "O-BELM": Inverter(lambda steps, _: OBelm(steps)),
    "EDICT": Inverter(lambda steps, _: Edict(steps)),
    "Rex (Euler)": Inverter(lambda steps, _: Rex(steps, tableau="euler")),
    "Rex (midpoint)": Inverter(lambda steps, _: Rex(steps, tableau="midpoint")),
    "Rex (RK4)": Inverter(lambda steps, _: Rex(steps)),
    "fixed point": Inverter(lambda steps, rounds: FixedPoint(steps, rounds=rounds), (2, 3, 5, 10)),
    "AIDI (Anderson)": Inverter(lambda steps, rounds: AidiAnderson(steps, rounds=rounds), (1, 2, 4, 9)),
    "AIDI (empirical)": Inverter(lambda steps, rounds: AidiEmpirical(steps, rounds=rounds), (1, 2, 5)),
    "ReNoise": Inverter(lambda steps, rounds: ReNoise(steps, rounds=rounds), (1, 4, 9)),
    "GNRI": Inverter(lambda steps, rounds: Gnri(steps, rounds=rounds), (1, 2, 5)),
    "Newton–Krylov": Inverter(lambda steps, rounds: NewtonKrylov(steps, krylov_steps=rounds), (1, 2, 4)),
    "forward step": Inverter(lambda steps, rounds: ForwardStep(steps, max_rounds=rounds), (500,)),
    "extrapolated Anderson": Inverter(lambda steps, rounds: Anderson(steps, rounds=rounds), (1, 2, 3, 5, 10)),
    "extrapolated Anderson, tolerance 1e-6": Inverter(
        lambda steps, rounds: Anderson(steps, rounds=rounds, tolerance=1e-6), (20,)
    ),
}
