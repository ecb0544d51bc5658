"""Which timesteps a training step looks at, and what their losses weigh."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from diffusion.randomness import generator

HISTORY = 10  # losses kept of each timestep
UNIFORM_SHARE = 0.001  # of the probability, so that no timestep is forgotten


@dataclass
class UniformSampler:
    """Every timestep as likely as any other, all of weight 1."""

    steps: int
    is_adaptive = False

    def sample(self, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The timesteps t [batch_size] of a training step, and the weights of their losses."""
        return generator(seed, "t", step).integers(0, self.steps, batch_size), np.ones(batch_size, np.float32)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Takes no notice of the losses [n] at timesteps t [n]."""

    def state(self) -> dict[str, Tensor]:
        return {}

    def load(self, state: dict[str, Tensor]) -> None: ...


@dataclass
class LossSecondMomentSampler:
    """TimestepSampler with probability p_t ∝ √E[L_t²] over the last ten losses of each, losses weighted by 1/(T·p_t).

    Uniform until every timestep has ten. Source: Nichol & Dhariwal (2021), section 3.3, equation 18.
    """

    steps: int
    losses: np.ndarray = field(init=False)
    counts: np.ndarray = field(init=False)
    is_adaptive = True

    def __post_init__(self) -> None:
        self.losses = np.zeros((self.steps, HISTORY))
        self.counts = np.zeros(self.steps, np.int64)

    def probabilities(self) -> np.ndarray:
        if (self.counts < HISTORY).any():
            return np.full(self.steps, 1 / self.steps)
        size = np.sqrt((self.losses**2).mean(axis=1))
        return (1 - UNIFORM_SHARE) * size / size.sum() + UNIFORM_SHARE / self.steps

    def sample(self, batch_size: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The timesteps t [batch_size] of a training step, and the weights of their losses."""
        p = self.probabilities()
        t = np.searchsorted(p.cumsum(), generator(seed, "t", step).random(batch_size)).clip(max=self.steps - 1)
        return t, (1 / (self.steps * p[t])).astype(np.float32)

    def update(self, t: Tensor, losses: Tensor) -> None:
        """Remembers the losses [n] of the whole global batch at timesteps t [n], the oldest of each t forgotten."""
        for one_t, loss in zip(t.tolist(), losses.tolist(), strict=True):
            self.losses[one_t] = np.roll(self.losses[one_t], -1)
            self.losses[one_t, -1] = loss
            self.counts[one_t] += 1

    def state(self) -> dict[str, Tensor]:
        return {"losses": torch.from_numpy(self.losses), "counts": torch.from_numpy(self.counts)}

    def load(self, state: dict[str, Tensor]) -> None:
        self.losses, self.counts = state["losses"].cpu().numpy(), state["counts"].cpu().numpy()


TimestepSampler = UniformSampler | LossSecondMomentSampler
TIMESTEP_SAMPLERS: dict[str, type[TimestepSampler]] = {
    "uniform": UniformSampler,
    "loss_second_moment": LossSecondMomentSampler,
}
