"""A network and its schedule seen as one thing: a predictor of the noise in x_t."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from configs.errors import UserError
from diffusion.solvers.spacing import Step, StepRule, strided_inversion, strided_sampling

PredictionType = Literal["eps", "x_0", "v"]


@dataclass(frozen=True)
class Denoiser:
    """Predicts ε for x_t at any timestep; what every model is opened as before it is sampled or measured.

    `network` maps x_t [N, C, H, W], their t [1] (as the schedule scales it) and labels y [N] or None to its output,
    of which the first C channels are what is `predicted`: ε, x_0, or v = √ᾱ ε − √(1−ᾱ) x_0 (Salimans & Ho, 2022,
    appendix D). `alphas_cumprod` [steps] is ᾱ in float64, `shape` is (C, H, W). A latent-diffusion model's `decode`
    turns its x_0 [N, C, H, W] into images [N, 3, H', W'] in [−1, 1].
    """

    network: Callable[[Tensor, Tensor, Tensor | None], Tensor]
    alphas_cumprod: Tensor
    shape: tuple[int, int, int]
    timestep_scale: float
    num_classes: int | None
    device: torch.device
    prediction_type: PredictionType = "eps"
    clip: bool = True  # whether the model's own sampler clips x_0 to [−1, 1]
    sampling_steps: StepRule = strided_sampling
    inversion_steps: StepRule = strided_inversion
    decode: Callable[[Tensor], Tensor] | None = None

    def labels(self, start: int, count: int, chosen: Sequence[int] = ()) -> Tensor | None:
        """The classes y [count] of samples start, start + 1, …: the `chosen` ones, or else all classes, in turn.

        Raises UserError where a chosen one is no class of this model.
        """
        if wrong := [label for label in chosen if label >= (self.num_classes or 0)]:
            known = f"the classes are 0 to {self.num_classes - 1}" if self.num_classes else "the model has no classes"
            raise UserError(f"analyze.labels={list(chosen)}: there is no class {wrong[0]}; {known}")
        if self.num_classes is None:
            return None
        in_turn = torch.tensor(chosen or range(self.num_classes), device=self.device)
        return in_turn[torch.arange(start, start + count, device=self.device) % len(in_turn)]

    def output(self, x_t: Tensor, timestep: int, y: Tensor | None = None) -> Tensor:
        """What the network predicts [N, C, H, W] of x_t [N, C, H, W] of classes y [N] at one timestep."""
        t = torch.full((1,), timestep * self.timestep_scale, device=x_t.device)  # one: it is embedded once
        return self.network(x_t, t, y)[:, : self.shape[0]]

    def predict(self, x_t: Tensor, step: Step, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x_0 and ε, [N, C, H, W] each, of x_t [N, C, H, W] that stands at the ᾱ where the step begins."""
        output = self.output(x_t, step.timestep, y)
        signal, noise = math.sqrt(step.alpha_bar), math.sqrt(1 - step.alpha_bar)
        if self.prediction_type == "eps":
            return (x_t - noise * output) / signal, output
        if self.prediction_type == "v":
            return signal * x_t - noise * output, signal * output + noise * x_t
        if (
            step.alpha_bar == 1
        ):  # a clean image has no noise to derive; it is seen as standing where the network is asked
            alpha_bar = self.alphas_cumprod[step.timestep].item()
            signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
        return output, (x_t - signal * output) / noise
