"""A network with its noise levels: the common interface of every model that is sampled or measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from configs.errors import UserError
from diffusion.levels import Level, NoiseLevels

PredictionType = Literal["eps", "x_0", "v", "velocity"]


@dataclass(frozen=True)
class Denoiser:
    """Predicts x_0 and ε from x_t = α·x_0 + σ·ε.

    `network` maps x_t [N, C, H, W], timesteps [1] (scaled by `timestep_scale`) and labels y [N] or None to its output.
    The first C output channels are the prediction: ε, x_0, v = α·ε − σ·x_0 (Salimans & Ho, 2022, appendix D), or the
    velocity ε − x_0 of flow matching. `shape` is (C, H, W), and `clip` tells whether the model's own sampler clips x_0
    to [−1, 1]. For a latent-diffusion model, `decode` maps x_0 [N, C, H, W] to images [N, 3, H', W'] in [−1, 1].
    The conditions of a model are numbered 0, …, num_classes − 1; those of a text-to-image model are its prompts.
    With classifier-free guidance, a call of `network` takes two `evaluations_per_call`.
    """

    network: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    levels: NoiseLevels
    shape: tuple[int, int, int]
    timestep_scale: float
    num_classes: int | None
    device: torch.device
    prediction_type: PredictionType = "eps"
    clip: bool = True
    decode: Callable[[Tensor], Tensor] | None = None
    evaluations_per_call: int = 1

    def labels(self, start: int, count: int, chosen: Sequence[int] = ()) -> Tensor | None:
        """Return the labels y [count] of samples start, start + 1, …, cycling through the chosen or all classes.

        Raises UserError if a chosen class does not exist.
        """
        if unknown := [label for label in chosen if label >= (self.num_classes or 0)]:
            known = f"the classes are 0 to {self.num_classes - 1}" if self.num_classes else "the model has no classes"
            raise UserError(f"analyze.labels={list(chosen)}: there is no class {unknown[0]}; {known}")
        if self.num_classes is None:
            return None
        cycle = torch.tensor(chosen or range(self.num_classes), device=self.device)
        return cycle[torch.arange(start, start + count, device=self.device) % len(cycle)]

    def output(self, x_t: Tensor, timestep: float, y: Tensor | None = None) -> Tensor:
        """Return the network's prediction [N, C, H, W] for x_t [N, C, H, W] and labels y [N] at one timestep."""
        t = torch.full((1,), timestep * self.timestep_scale, device=x_t.device)  # length 1: embedded only once
        return self.network(x_t, t, y)[:, : self.shape[0]]

    def predict(self, x_t: Tensor, timestep: float, level: Level, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return x_0 and ε, [N, C, H, W] each, for x_t [N, C, H, W] at noise level `level`."""
        output, alpha, sigma = self.output(x_t, timestep, y), level.alpha, level.sigma
        if self.prediction_type == "eps":
            return (x_t - sigma * output) / alpha, output
        if self.prediction_type == "v":
            return alpha * x_t - sigma * output, alpha * output + sigma * x_t
        if self.prediction_type == "velocity":
            return (x_t - sigma * output) / (alpha + sigma), (x_t + alpha * output) / (alpha + sigma)
        if sigma == 0:  # ε is undefined for a clean image; place it at the timestep of the network's evaluation
            level = self.levels[max(0, round(timestep))]
        return output, (x_t - level.alpha * output) / level.sigma
