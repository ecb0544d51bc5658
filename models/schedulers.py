"""Noise levels and timesteps of pipelines, computed by the schedulers of diffusers."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import UserError
from diffusion.denoiser import PredictionType
from diffusion.levels import Level, NoiseLevels
from diffusion.solvers.implicit import inverse_steps
from diffusion.solvers.solver import Step
from diffusion.solvers.spacing import StridedSpacing, TimestepSpacing
from models.components import import_diffusers

PREDICTION_TYPES: dict[str, PredictionType] = {"epsilon": "eps", "sample": "x_0", "v_prediction": "v"}
FLOW_MATCHING = "FlowMatchEulerDiscreteScheduler"
VARIANCE_EXPLODING = "ScoreSdeVeScheduler"
DDIM_BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")  # schedules of DDIMScheduler; others have more


@dataclass(frozen=True)
class SchedulerSpacing(TimestepSpacing):
    """The timesteps of DDIMScheduler and DDIMInverseScheduler under a pipeline's scheduler configuration.

    The configuration sets the spacing, the offset and the level at the clean end. When inverting, the network is
    evaluated at the end of each step, not at its start.
    """

    config: Any

    @property
    def starts_from_pure_noise(self) -> bool:
        return bool(self.config.rescale_betas_zero_snr)

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        scheduler = import_diffusers().DDIMScheduler.from_config(self.config)
        scheduler.set_timesteps(steps)
        stride, clean = len(levels) // steps, Level.from_alpha_bar(scheduler.final_alpha_cumprod.item())
        timesteps = _timesteps(scheduler, levels)
        return [Step(t, levels[t], levels[t - stride] if t >= stride else clean) for t in timesteps]

    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        spacing = {"linspace": "leading"}.get(self.config.timestep_spacing, self.config.timestep_spacing)
        # DDIMInverseScheduler has no "linspace".
        scheduler = import_diffusers().DDIMInverseScheduler.from_config(self.config, timestep_spacing=spacing)
        scheduler.set_timesteps(steps)
        stride, clean = len(levels) // steps, Level.from_alpha_bar(scheduler.initial_alpha_cumprod.item())
        timesteps = _timesteps(scheduler, levels)
        return [Step(t, levels[t - stride] if t >= stride else clean, levels[t]) for t in timesteps]


def _timesteps(scheduler: Any, levels: NoiseLevels) -> list[int]:
    """Return the scheduler's timesteps. Raises ValueError if the model has no such timestep.

    An offset can exceed the last one, and rounding in the spacing "trailing" can add −1.
    """
    timesteps = scheduler.timesteps.tolist()
    for timestep in (max(timesteps), min(timesteps)):
        if timestep not in range(len(levels)):
            raise ValueError(f"the scheduler's spacing leads to timestep {timestep:,}, which the model does not have")
    return timesteps


@dataclass(frozen=True)
class FlowMatchingSpacing(TimestepSpacing):
    """The steps of FlowMatchEulerDiscreteScheduler under a pipeline's scheduler configuration.

    `tokens` is the number of image tokens, which dynamic shifting depends on. `from_one` spaces σ uniformly from 1, as
    FLUX's pipeline does, instead of the scheduler's default. The steps of the inversion are those of sampling in
    reverse; as in `SchedulerSpacing`, the network is evaluated at the end of each step.
    """

    config: Any
    tokens: int
    from_one: bool

    @property
    def starts_from_pure_noise(self) -> bool:
        return True

    def sampling(self, levels: NoiseLevels, steps: int) -> list[Step]:
        scheduler = import_diffusers().FlowMatchEulerDiscreteScheduler.from_config(self.config)
        sigmas = np.linspace(1, 1 / steps, steps) if self.from_one else None
        scheduler.set_timesteps(steps, sigmas=sigmas, mu=self.shift if self.config.use_dynamic_shifting else None)
        ends = [Level(1 - sigma, sigma) for sigma in scheduler.sigmas.tolist()]
        return [Step(*step) for step in zip(scheduler.timesteps.tolist(), ends[:-1], ends[1:], strict=True)]

    def inversion(self, levels: NoiseLevels, steps: int) -> list[Step]:
        return inverse_steps(self.sampling(levels, steps))

    @property
    def shift(self) -> float:
        """μ of dynamic shifting, linear in the number of image tokens."""
        config = self.config
        slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
        return config.base_shift + slope * (self.tokens - config.base_image_seq_len)


@dataclass(frozen=True)
class Process:
    """The forward process of a pipeline, and the steps of its scheduler."""

    levels: NoiseLevels
    spacing: TimestepSpacing
    prediction_type: PredictionType
    clip: bool


def open_process(folder: Path, scheduler: Any, tokens: int, from_one: bool) -> Process:
    """Return the process of a pipeline's scheduler; `FlowMatchingSpacing` describes `tokens` and `from_one`.

    Raises UserError if neither DDIM nor Euler's method for flow matching is defined for it.
    """
    config = scheduler.config
    if is_flow_matching(scheduler):
        levels = NoiseLevels.flow_matching(config.num_train_timesteps)
        return Process(levels, FlowMatchingSpacing(config, tokens, from_one), "velocity", clip=False)
    ddim = _ddim_scheduler(folder, scheduler)
    levels = NoiseLevels.from_alphas_cumprod(ddim.alphas_cumprod.double())
    prediction_type = PREDICTION_TYPES[ddim.config.prediction_type]
    return Process(levels, SchedulerSpacing(ddim.config), prediction_type, ddim.config.clip_sample)


def variance_exploding(folder: Path, scheduler: Any) -> Process:
    """Return the process of a score model, x_0 + σ·ε for pixels from 0 to 1, as a variance-preserving process.

    For pixels from −1 to 1, the noise level is 2σ. Division by √(1 + 4σ²) gives x_t unit variance and does not change
    DDIM's steps, which are Euler's in σ of the probability flow ODE. Raises UserError for other schedulers. Source:
    Song et al. (2021), "Score-Based Generative Modeling through Stochastic Differential Equations", eqs. (9), (13).
    """
    name, config = type(scheduler).__name__, scheduler.config
    if name != VARIANCE_EXPLODING:
        raise UserError(f"{folder}: its scheduler is {name}; only {VARIANCE_EXPLODING} is supported")
    first, last = math.log(config.sigma_min), math.log(config.sigma_max)
    sigmas = 2 * torch.linspace(first, last, config.num_train_timesteps, dtype=torch.float64).exp()
    scale = (1 + sigmas**2).sqrt()
    return Process(NoiseLevels(1 / scale, sigmas / scale), StridedSpacing(), "eps", clip=False)


def is_flow_matching(scheduler: Any) -> bool:
    """Return whether a scheduler integrates a flow from noise (σ = 1) to image (σ = 0) by Euler's method."""
    return type(scheduler).__name__ == FLOW_MATCHING and not scheduler.config.invert_sigmas


def _ddim_scheduler(folder: Path, own: Any) -> Any:
    """Return a DDIMScheduler with the betas, prediction type and clipping of a pipeline's own scheduler."""
    name, config = type(own).__name__, own.config
    if not hasattr(own, "alphas_cumprod"):
        raise UserError(f"{folder}: its scheduler {name} has no ᾱ and is not {FLOW_MATCHING}; not supported")
    clips = config.get("clip_sample", False)
    if config.get("thresholding") or (clips and config.clip_sample_range != 1):
        raise UserError(f"{folder}: its scheduler limits x_0 other than by clipping to [−1, 1]; not supported")
    if config.prediction_type not in PREDICTION_TYPES:
        raise UserError(f"{folder}: its scheduler predicts {config.prediction_type}; not supported")
    betas = {} if config.beta_schedule in DDIM_BETAS else {"trained_betas": own.betas.tolist()}
    return import_diffusers().DDIMScheduler.from_config(config, clip_sample=clips, **betas)
