"""Exponential moving averages (EMA) of a network's weights."""

import torch
from torch import Tensor, nn

from records.checkpoint import Weights


class Ema:
    """Moving average of a network's weights, initialized with the weights themselves; `rate` is its decay per step."""

    def __init__(self, network: nn.Module, rate: float):
        self.rate = rate
        self.weights: Weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @property
    def name(self) -> str:
        return f"ema_{self.rate}"

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update average ← rate · average + (1 − rate) · weights, in two kernel launches for all parameters."""
        current: list[Tensor] = [value.detach() for value in network.state_dict().values()]
        averages = list(self.weights.values())
        torch._foreach_mul_(averages, self.rate)
        torch._foreach_add_(averages, current, alpha=1 - self.rate)
