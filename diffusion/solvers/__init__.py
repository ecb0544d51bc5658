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
from diffusion.solvers.solver import Solver

SOLVERS: dict[str, Callable[..., Solver]] = {"ddim": Ddim}


@dataclass(frozen=True)
class Inverter:
    """A method that is compared: `build(rounds, steps=…, spacing=…, clip=…)` returns its solver.

    `max_rounds` limits the rounds per step, and is 0 if the method has none. An adaptive method decides when to
    stop. A method that divides by the signal level α of every step does not start from pure noise.
    """

    build: Callable[..., Solver]
    max_rounds: int = 0
    is_adaptive: bool = False
    divides_by_signal: bool = False


def _rounds(kind: Callable[..., Solver], name: str = "rounds", **options: object) -> Callable[..., Solver]:
    """Return a builder that passes the rounds as an option of the given name."""
    return lambda rounds, **setting: kind(**setting, **options, **{name: rounds})


def _fixed(kind: Callable[..., Solver], **options: object) -> Callable[..., Solver]:
    """Return a builder of a method without rounds."""
    return lambda rounds, **setting: kind(**setting, **options)


INVERTERS = {
    "naive (improved-diffusion)": Inverter(_fixed(Naive, image_at="first", evaluate_at="start", end_at="zero")),
    "naive (diffusers)": Inverter(_fixed(Naive)),
    "naive (BELM)": Inverter(_fixed(Naive, evaluate_at="start")),
    "forward start": Inverter(_fixed(ForwardStart)),
    "EasyInv": Inverter(_fixed(EasyInv)),
    "DPM-Solver++(2M)": Inverter(_fixed(DpmSolver, order=2), divides_by_signal=True),
    "DPM-Solver++(3M)": Inverter(_fixed(DpmSolver, order=3), divides_by_signal=True),
    "BDIA": Inverter(_fixed(Bdia), divides_by_signal=True),
    "O-BELM": Inverter(_fixed(OBelm), divides_by_signal=True),
    "EDICT": Inverter(_fixed(Edict), divides_by_signal=True),
    "Rex (Euler)": Inverter(_fixed(Rex, tableau="euler"), divides_by_signal=True),
    "Rex (midpoint)": Inverter(_fixed(Rex, tableau="midpoint"), divides_by_signal=True),
    "Rex (RK4)": Inverter(_fixed(Rex, tableau="rk4"), divides_by_signal=True),
    "fixed point": Inverter(_rounds(FixedPoint), 100),
    "AIDI (Anderson)": Inverter(_rounds(AidiAnderson), 100),
    "AIDI (empirical)": Inverter(_rounds(AidiEmpirical), 100),
    "ReNoise": Inverter(_rounds(ReNoise), 100),
    "GNRI": Inverter(_rounds(Gnri), 100, divides_by_signal=True),
    "Newton–Krylov": Inverter(_rounds(NewtonKrylov, "krylov_steps"), 20),
    "forward step": Inverter(_rounds(ForwardStep, "max_rounds"), 500, is_adaptive=True),
    "forward step (2M)": Inverter(_rounds(DpmForwardStep, "max_rounds"), 500, is_adaptive=True, divides_by_signal=True),
    "extrapolated Anderson": Inverter(_rounds(Anderson), 100),
    "adaptive Anderson": Inverter(_rounds(Anderson, tolerance=1e-6), 20, is_adaptive=True),
}
