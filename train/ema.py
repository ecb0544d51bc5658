"""Exponential moving averages of a network's weights."""

import torch
from torch import Tensor, nn

from records.checkpoint import Weights


class Ema:
    """An average of the parameters that starts at the network's own and forgets at `rate` a step."""

    def __init__(self, network: nn.Module, rate: float):
        self.rate = rate
        self.weights: Weights = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @property
    def name(self) -> str:
        return f"ema_{self.rate}"

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """average ← rate · average + (1 − rate) · weights, for all parameters in two launches."""
        now: list[Tensor] = [value.detach() for value in network.state_dict().values()]
        averages = list(self.weights.values())
        torch._foreach_mul_(averages, self.rate)
        torch._foreach_add_(averages, now, alpha=1 - self.rate)
