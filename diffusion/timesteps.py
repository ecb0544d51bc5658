"""Timestep samplers: the timesteps t of a training batch and the weights of their losses."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from diffusion.randomness import generator

HISTORY = 10  # recent losses stored per timestep
UNIFORM_FRACTION = 0.001  # uniform fraction of the probability, so that every timestep is still sampled


@dataclass
class UniformSampler:
    """Uniform sampling of timesteps, with all loss weights 1."""

    steps: int
    is_adaptive = False

    def sample(self, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample the timesteps t [batch_size] of a training step, and the weights [batch_size] of their losses."""
        return generator(seed, "t", step).integers(0, self.steps, batch_size), np.ones(batch_size, np.float32)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Ignore the losses [n] at timesteps t [n]."""

    def state_dict(self) -> dict[str, Tensor]:
        return {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class LossSecondMomentSampler:
    """Importance sampling with probability p_t ∝ √E[L_t²] over the last ten losses of each timestep.

    Losses are weighted by 1/(T·p_t). Sampling is uniform until every timestep has ten losses.
    Source: Nichol & Dhariwal (2021), section 3.3, equation 18.
    """

    steps: int
    losses: np.ndarray = field(init=False)  # [steps, HISTORY], newest last
    counts: np.ndarray = field(init=False)  # [steps], losses seen per timestep
    is_adaptive = True

    def __post_init__(self) -> None:
        self.losses = np.zeros((self.steps, HISTORY))
        self.counts = np.zeros(self.steps, np.int64)

    def probabilities(self) -> np.ndarray:
        """Return p_t [steps]."""
        if (self.counts < HISTORY).any():
            return np.full(self.steps, 1 / self.steps)
        size = np.sqrt((self.losses**2).mean(axis=1))
        return (1 - UNIFORM_FRACTION) * size / size.sum() + UNIFORM_FRACTION / self.steps

    def sample(self, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Sample the timesteps t [batch_size] of a training step, and the weights [batch_size] of their losses."""
        p = self.probabilities()
        t = np.searchsorted(p.cumsum(), generator(seed, "t", step).random(batch_size)).clip(max=self.steps - 1)
        return t, (1 / (self.steps * p[t])).astype(np.float32)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Record the losses [n] of the global batch at timesteps t [n], replacing the oldest of each timestep."""
        for timestep, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[timestep] = np.roll(self.losses[timestep], -1)
            self.losses[timestep, -1] = loss
            self.counts[timestep] += 1

    def state_dict(self) -> dict[str, Tensor]:
        return {"losses": torch.from_numpy(self.losses), "counts": torch.from_numpy(self.counts)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self.losses, self.counts = state["losses"].cpu().numpy(), state["counts"].cpu().numpy()


TimestepSampler = UniformSampler | LossSecondMomentSampler
TIMESTEP_SAMPLERS: dict[str, type[TimestepSampler]] = {
    "uniform": UniformSampler,
    "loss_second_moment": LossSecondMomentSampler,
}
