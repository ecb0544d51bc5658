"""Training losses: simple, variational bound, and their hybrid.

Source: Nichol & Dhariwal (2021), equations 14–16; the terms of the bound are from Ho et al. (2020), equation 5.
Losses are averaged over pixels and channels: one value per image.
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
HALF_BIN = 1 / 255  # half the distance between adjacent values of the 256 pixel values in [−1, 1]


@dataclass(frozen=True)
class Losses:
    """Loss and its terms, one value per image [N]; a term that the loss does not contain is None."""

    loss: Tensor
    mse: Tensor | None = None
    vb: Tensor | None = None

    def parts(self) -> dict[str, Tensor]:
        """Return the loss and its terms by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Prediction:
    """Predicted ε, and mean and log-variance of the reverse step p(x_{t−1} | x_t), each [N, C, H, W]."""

    eps: Tensor
    mean: Tensor
    log_variance: Tensor


@dataclass(frozen=True)
class GaussianDiffusion:
    """Forward process q, reverse process p and training losses under a noise schedule.

    `rescale_timesteps` scales the network's input t to 0…1000 for any number of steps.
    """

    schedule: Schedule
    variance: VarianceKind = "learned_range"
    rescale_timesteps: bool = True

    def q_sample(self, x_0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Return x_t = √ᾱ_t·x_0 + √(1−ᾱ_t)·ε [N, C, H, W] (Ho et al., equation 4)."""
        alphas_cumprod = self.schedule.alphas_cumprod
        return extract(alphas_cumprod.sqrt(), t) * x_0 + extract((1 - alphas_cumprod).sqrt(), t) * eps

    def network_time(self, t: Tensor) -> Tensor:
        """Return timesteps t [N] as the network's input."""
        return t.float() * network_time_scale(self.schedule, self.rescale_timesteps)

    def losses(self, network: Network, x_0: Tensor, t: Tensor, eps: Tensor, kind: LossKind) -> Losses:
        """Return the losses of images x_0 [N, C, H, W] in [−1, 1], noised by eps to timesteps t [N]."""
        x_t = self.q_sample(x_0, t, eps)
        return self.output_losses(network(x_t, self.network_time(t)), x_0, x_t, t, eps, kind)

    def output_losses(self, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor, eps: Tensor, kind: LossKind) -> Losses:
        """Return the losses of a network's output [N, C or 2C, H, W] for x_t.

        hybrid: L_simple + steps/1000 · L_vb, with the mean detached in L_vb (equation 16, λ = 0.001 for the sum over
        steps). vlb: steps · L_vb, an unbiased estimate of the full bound. L_vb is in bits per dimension.
        """
        if kind == "vlb":
            vb = self.variational_bound_bits(output, x_0, x_t, t)
            return Losses(loss=vb * self.schedule.steps, vb=vb)
        mse = mean_flat((eps - output[:, : x_0.shape[1]]) ** 2)
        if kind == "simple" or self.variance != "learned_range":
            return Losses(loss=mse, mse=mse)
        mean, weights = output.chunk(2, dim=1)
        detached = torch.cat([mean.detach(), weights], dim=1)
        vb = self.variational_bound_bits(detached, x_0, x_t, t) * (self.schedule.steps / 1000)
        return Losses(loss=mse + vb, mse=mse, vb=vb)

    def predict(self, output: Tensor, x_t: Tensor, t: Tensor) -> Prediction:
        """Return the reverse step parametrized by a network's output [N, C or 2C, H, W], without clipping x_0."""
        schedule = self.schedule
        eps = output[:, : x_t.shape[1]]
        alphas_cumprod = schedule.alphas_cumprod
        x_0 = extract((1 / alphas_cumprod).sqrt(), t) * x_t - extract((1 / alphas_cumprod - 1).sqrt(), t) * eps
        mean = extract(schedule.posterior_mean_x_0, t) * x_0 + extract(schedule.posterior_mean_x_t, t) * x_t
        return Prediction(eps, mean, self._log_variance(output, x_t, t))

    def _log_variance(self, output: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        log_variance = self.schedule.posterior_log_variance_clipped
        if self.variance == "learned_range":  # equation 15, with v from the network in [−1, 1]
            v = (output[:, x_t.shape[1] :] + 1) / 2
            return v * extract(self.schedule.betas.log(), t) + (1 - v) * extract(log_variance, t)
        if self.variance == "fixed_large":
            # β_1 gives a poor decoder likelihood, so the first step uses the posterior variance of the second.
            log_variance = torch.cat([log_variance[:1], self.schedule.betas[1:].log()])
        return extract(log_variance, t).expand_as(x_t)

    def variational_bound_bits(self, output: Tensor, x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        """Return L_{t−1} in bits per dimension [N]: a KL divergence, or the decoder's NLL at t = 0."""
        schedule, prediction = self.schedule, self.predict(output, x_t, t)
        true_mean = extract(schedule.posterior_mean_x_0, t) * x_0 + extract(schedule.posterior_mean_x_t, t) * x_t
        true_log_variance = extract(schedule.posterior_log_variance_clipped, t)
        kl = normal_kl(true_mean, true_log_variance, prediction.mean, prediction.log_variance)
        nll = -discretized_gaussian_log_likelihood(x_0, prediction.mean, prediction.log_variance / 2)
        return torch.where(t == 0, mean_flat(nll), mean_flat(kl)) / math.log(2)


def network_time_scale(schedule: Schedule, rescale_timesteps: bool) -> float:
    """Return the factor between a timestep and the network's input."""
    return 1000 / schedule.steps if rescale_timesteps else 1.0


def extract(values: Tensor, t: Tensor) -> Tensor:
    """Return values[t] in float32 as [N, 1, 1, 1], on the device of t."""
    return values.to(device=t.device, dtype=torch.float32)[t][:, None, None, None]


def mean_flat(values: Tensor) -> Tensor:
    """Return the mean over all dimensions except the first, [N]."""
    return values.flatten(1).mean(dim=1)


def normal_kl(mean_1: Tensor, log_variance_1: Tensor, mean_2: Tensor, log_variance_2: Tensor) -> Tensor:
    """Return KL(N(mean_1, e^log_variance_1) ‖ N(mean_2, e^log_variance_2)) in nats, elementwise."""
    ratio = (log_variance_1 - log_variance_2).exp()
    distance = (mean_1 - mean_2) ** 2 * (-log_variance_2).exp()
    return 0.5 * (ratio + distance - 1 + log_variance_2 - log_variance_1)


def normal_cdf(x: Tensor) -> Tensor:
    """Return the standard normal CDF in the tanh approximation that the published models were trained with."""
    return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def discretized_gaussian_log_likelihood(x: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Return log P(pixel) in nats, elementwise: a Gaussian integrated over the bin of a pixel value.

    There are 256 bins; the outermost extend to ±∞. Source: Ho et al. (2020), equation 13.
    """
    inverse_scale = (-log_scale).exp()
    below_upper = normal_cdf(inverse_scale * (x - mean + HALF_BIN))
    below_lower = normal_cdf(inverse_scale * (x - mean - HALF_BIN))
    probability = torch.where(
        x < -0.999, below_upper, torch.where(x > 0.999, 1 - below_lower, below_upper - below_lower)
    )
    return probability.clamp(min=MIN_PROBABILITY).log()
