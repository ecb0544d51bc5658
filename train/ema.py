"""Exponential moving averages (EMA) of a network's weights."""

import torch
from torch import nn

from records.checkpoint import Weights


class Ema:
    """Moving average of a network's weights, initialized with the weights themselves; `rate` is its decay per step.

    The network must keep its tensors: they may change in place, but not be replaced.
    """

    def __init__(self, network: nn.Module, rate: float):
        self.rate = rate
        self.current = [value.detach() for value in network.state_dict().values()]  # collected once: it takes 2 ms
        self.weights: Weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @property
    def name(self) -> str:
        return f"ema_{self.rate}"

    def update(self) -> None:
        """Update average ← rate · average + (1 − rate) · weights, in a few kernel launches for all parameters."""
        averages = list(self.weights.values())
        torch._foreach_mul_(averages, self.rate)
        torch._foreach_add_(averages, self.current, alpha=1 - self.rate)

    def load(self, weights: Weights) -> None:
        """Continue from saved averages."""
        for name, value in self.weights.items():
            value.copy_(weights[name])
