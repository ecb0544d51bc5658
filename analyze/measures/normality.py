"""Distance of the distribution of latent values from the standard normal distribution."""

import math

import torch
from torch import Tensor

BINS = 256


def kl_to_normal(values: Tensor, bins: int = BINS) -> float:
    """Return the Kullback–Leibler divergence, in nats, of the distribution of values of any shape from N(0, 1).

    Values are mapped by the normal distribution function Φ, which makes N(0, 1) uniform on [0, 1], and counted in
    `bins` equal intervals: KL = Σ p_k ln(bins·p_k). For n independent normal values the expectation is not 0 but about
    (bins − 1)/(2n). The result is infinite if a value is not finite.
    """
    if not values.isfinite().all():
        return math.inf
    uniform = torch.special.ndtr(values.flatten().double())
    counts = torch.histc(uniform, bins, min=0.0, max=1.0)
    share = counts[counts > 0] / counts.sum()
    return (share * (bins * share).log()).sum().item()
