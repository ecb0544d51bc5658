"""Samplers and their inverses, one per file; SOLVERS lists them by the name that a setting records."""

from collections.abc import Callable

from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import Solver

SOLVERS: dict[str, Callable[..., Solver]] = {"ddim": Ddim}
