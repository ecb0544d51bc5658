"""Settings of an analysis: the checkpoint or model, sampler and inverter that a result belongs to."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass

from configs.schema import Analyze
from diffusion.solvers import SOLVERS
from diffusion.solvers.solver import Solver
from diffusion.solvers.spacing import TimestepSpacing

# Options of `analyze` that do not change the samples.
NOT_IN_SAMPLES = ("batch_size", "compile", "inversion_steps", "pictures", "published", "measures")


@dataclass(frozen=True)
class SolverSetting:
    """A solver by its name in `diffusion.solvers.SOLVERS`, and its number of steps T."""

    name: str
    steps: int

    @property
    def key(self) -> str:
        """Folder name, for example "ddim-T100"."""
        return f"{self.name}-T{self.steps}"

    def build(self, spacing: TimestepSpacing, clip: bool | None) -> Solver:
        """Return the solver for a model's timestep spacing; `clip` None clips x_0 if the model's own sampler does."""
        return SOLVERS[self.name](self.steps, spacing, clip)


@dataclass(frozen=True)
class Setting:
    """The origin of a result: checkpoint or model, sampler and inverter."""

    checkpoint: int | None  # training step; None for a model without checkpoints
    sampler: SolverSetting
    inverter: SolverSetting

    @classmethod
    def from_options(cls, options: Analyze, checkpoint: int | None) -> "Setting":
        """Return the setting that the options of `analyze` describe."""
        sampler = SolverSetting("ddim", options.ddim_steps)
        return cls(checkpoint, sampler, SolverSetting("ddim", options.inversion_steps or options.ddim_steps))

    @property
    def position(self) -> int:
        """Position on the x axis and in file names: the training step, or T for a model without checkpoints."""
        return self.sampler.steps if self.checkpoint is None else self.checkpoint

    @property
    def has_own_inverter(self) -> bool:
        """Whether the inverter differs from the sampler's own inverse."""
        return self.inverter != self.sampler


def samples_fingerprint(options: Analyze) -> str:
    """Return a readable folder name that differs if and only if the samples differ."""
    shaping = {key: value for key, value in dataclasses.asdict(options).items() if key not in NOT_IN_SAMPLES}
    precision = f"-{options.precision}"
    if options.precision == "fp32":  # the only precision of early versions, whose folders must still be found
        del shaping["precision"]
        precision = ""
    digest = hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:8]
    clip = "noclip" if options.clip_denoised is False else "clip"
    return f"{options.weights}-T{options.ddim_steps}-N{options.samples}-{clip}{precision}-{digest}"


def fingerprint(options: Analyze) -> str:
    """Return the folder name of an analysis: that of its samples, with the inverter if it is not the sampler's own."""
    setting = Setting.from_options(options, None)
    inverter = f"-{setting.inverter.key}" if setting.has_own_inverter else ""
    return samples_fingerprint(options) + inverter
