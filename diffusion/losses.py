"""Training losses: simple, variational bound, and their hybrid.

Source: Nichol & Dhariwal (2021), equations 14–16; the bound's terms are Ho et al. (2020), equation 5.
All expectations over pixels and channels are means, so that a loss has one value per image.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffusion.schedule import Schedule

LossKind = Literal["simple", "hybrid", "vlb"]
VarianceKind = Literal["learned_range", "fixed_large", "fixed_small"]
Network = Callable[[Tensor, Tensor], Tensor]  # x_t [N, C, H, W], t [N] → output

MIN_PROBABILITY = 1e-12
HALF_BIN = 1 / 255  # half the distance between two of the 256 pixel values in [−1, 1]


@dataclass(frozen=True)
class Losses:
    """One value per image [N]; `mse` is missing from the bound, `vb` from a fixed variance's simple loss."""

    loss: Tensor
    mse: Tensor | None = None
    vb: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Prediction:
    """What a network's output says of p(x_{t−1} | x_t): ε, and the mean and log-variance, each [N, C, H, W]."""

    eps: Tensor
    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class GaussianDiffusion:
    """The losses of a network under a schedule.

    `rescale_timesteps` feeds the network t in 0…1000 whatever the number of steps.
    """

    schedule: Schedule
    variance: VarianceKind = "learned_range"
    rescale_timesteps: bool = True

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε (Ho et al., equation 4)."""
        alphas_cumprod = self.schedule.alphas_cumprod
        return at(alphas_cumprod.sqrt(), t) * x_0 + at((1 - alphas_cumprod).sqrt(), t) * eps

    def network_time(self, t: Tensor) -> Tensor:
        return t.float() * network_time_scale(self.schedule, self.rescale_timesteps)

    def losses(self, network: Network, x_0: Tensor, t: Tensor, eps: Tensor, kind: LossKind) -> Losses:
        """The losses [N] of images x_0 [N, C, H, W] in [−1, 1] noised by eps to timesteps t [N].

        hybrid: L_simple + steps/1000 · L_vb with the mean held fixed inside L_vb (equation 16, λ = 0.001 for
        the sum over steps). vlb: steps · L_vb, an unbiased estimate of the whole bound. Bits, not nats.
        """
        x_t = self.q_sample(x_0, t, eps)
        output = network(x_t, self.network_time(t))
        if kind == "vlb":
            vb = self.variational_bound_bits(output, x_0, x_t, t)
            return Losses(loss=vb * self.schedule.steps, vb=vb)
        mse = per_image((eps - output[:, : x_0.shape[1]]) ** 2)
        if kind == "simple" or self.variance != "learned_range":
            return Losses(loss=mse, mse=mse)
        mean, weights = output.chunk(2, dim=1)
        frozen = torch.cat([mean.detach(), weights], dim=1)
        vb = self.variational_bound_bits(frozen, x_0, x_t, t) * (self.schedule.steps / 1000)
        return Losses(loss=mse + vb, mse=mse, vb=vb)

    def predict(self, output: Tensor, x_t: Tensor, t: Tensor) -> Prediction:
        """The reverse step that a network's output [N, C or 2C, H, W] stands for, without clipping."""
        schedule = self.schedule
        eps = output[:, : x_t.shape[1]]
        alphas_cumprod = schedule.alphas_cumprod
        x_0 = at((1 / alphas_cumprod).sqrt(), t) * x_t - at((1 / alphas_cumprod - 1).sqrt(), t) * eps
        mean = at(schedule.posterior_mean_x_0, t) * x_0 + at(schedule.posterior_mean_x_t, t) * x_t
        return Prediction(eps, mean, self._log_variance(output, x_t, t))

    def _log_variance(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        smallest = self.schedule.posterior_log_variance_clipped
        if self.variance == "learned_range":  # equation 15, with the weight given as a number in [−1, 1]
            share = (output[:, x_t.shape[1] :] + 1) / 2
            return share * at(self.schedule.betas.log(), t) + (1 - share) * at(smallest, t)
        if self.variance == "fixed_large":
            # β_1 would make the decoder's likelihood poor, so the first step takes the second's posterior variance.
            smallest = torch.cat([smallest[:1], self.schedule.betas[1:].log()])
        return at(smallest, t).expand_as(x_t)

    def variational_bound_bits(self, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """L_{t−1} in bits per dimension [N]: a KL divergence, or at t = 0 the decoder's negative log-likelihood."""
        schedule, prediction = self.schedule, self.predict(output, x_t, t)
        true_mean = at(schedule.posterior_mean_x_0, t) * x_0 + at(schedule.posterior_mean_x_t, t) * x_t
        true_log_variance = at(schedule.posterior_log_variance_clipped, t)
        kl = normal_kl(true_mean, true_log_variance, prediction.mean, prediction.log_variance)
        nll = -discretized_gaussian_log_likelihood(x_0, prediction.mean, prediction.log_variance / 2)
        return torch.where(t == 0, per_image(nll), per_image(kl)) / math.log(2)

    def prior_bits(self, x_0: Tensor) -> Tensor:
        """L_T = KL(q(x_T | x_0) ‖ N(0, I)) in bits per dimension [N]: nothing of it can be learned."""
        last = torch.full((len(x_0),), self.schedule.steps - 1, device=x_0.device)
        alphas_cumprod = self.schedule.alphas_cumprod
        mean, log_variance = at(alphas_cumprod.sqrt(), last) * x_0, at((1 - alphas_cumprod).log(), last)
        zero = torch.zeros((), device=x_0.device)
        return per_image(normal_kl(mean, log_variance, zero, zero)) / math.log(2)


def network_time_scale(schedule: Schedule, rescale_timesteps: bool) -> float:
    """What a timestep is multiplied by before the network sees it."""
    return 1000 / schedule.steps if rescale_timesteps else 1.0


def at(values: Tensor, t: Tensor) -> Tensor:
    """values[t] in float32 as [N, 1, 1, 1], on the device of t."""
    return values.to(device=t.device, dtype=torch.float32)[t][:, None, None, None]


def per_image(values: Tensor) -> Tensor:
    return values.flatten(1).mean(dim=1)


def normal_kl(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """KL(N(mean_1, e^log_variance_1) ‖ N(mean_2, e^log_variance_2)) in nats, element by element."""
    ratio = (log_variance_1 - log_variance_2).exp()
    distance = (mean_1 - mean_2) ** 2 * (-log_variance_2).exp()
    return 0.5 * (ratio + distance - 1 + log_variance_2 - log_variance_1)


def normal_cdf(x: Tensor) -> Tensor:
    """The standard normal's distribution function, by the tanh formula that published models were trained with."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def discretized_gaussian_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """log P(pixel) in nats: a Gaussian integrated over the bin of each of the 256 values, the outer bins open.

    Source: Ho et al. (2020), equation 13.
    """
    inverse_scale = (-log_scale).exp()
    below_upper = normal_cdf(inverse_scale * (x - mean + HALF_BIN))
    below_lower = normal_cdf(inverse_scale * (x - mean - HALF_BIN))
    probability = torch.where(
        x < -0.999, below_upper, torch.where(x > 0.999, 1 - below_lower, below_upper - below_lower)
    )
    return probability.clamp(min=MIN_PROBABILITY).log()
