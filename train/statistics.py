"""Means of the losses since the last logged step, over all timesteps and over each quarter of them."""

import torch
from torch import Tensor

QUARTERS = 4


class LossStatistics:
    """Sums that stay on the device until they are read, so that training never waits for a number.

    `sums` [parts, 1 + quarters] and `counts` [1 + quarters]: column 0 is over all t, then each quarter of t.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.names: list[str] = []
        self.reset()

    def reset(self) -> None:
        self.sums = torch.zeros(len(self.names), 1 + QUARTERS, dtype=torch.float64, device=self.device)
        self.counts = torch.zeros(1 + QUARTERS, dtype=torch.float64, device=self.device)

    def add(self, parts: dict[str, Tensor], t: Tensor, steps: int) -> None:
        """Adds the losses of a batch, each [n], at timesteps t [n] of `steps`."""
        if not self.names:
            self.names = list(parts)
            self.reset()
        values = torch.stack([part.detach().double() for part in parts.values()])
        quarter = 1 + t * QUARTERS // steps
        self.sums[:, 0] += values.sum(dim=1)
        self.sums.index_add_(1, quarter, values)
        self.counts[0] += len(t)
        self.counts.index_add_(0, quarter, torch.ones_like(t, dtype=torch.float64))

    def means(self, sums: Tensor, counts: Tensor) -> dict[str, float]:
        """ "loss", "loss_q0" … "loss_q3" and so on; a quarter that no timestep fell in is left out."""
        means = (sums / counts).tolist()
        suffixes = ["", *(f"_q{quarter}" for quarter in range(QUARTERS))]
        return {
            f"{name}{suffix}": means[row][column]
            for row, name in enumerate(self.names)
            for column, suffix in enumerate(suffixes)
            if counts[column] > 0
        }

    def state(self) -> dict:
        return {"names": self.names, "sums": self.sums.cpu(), "counts": self.counts.cpu()}

    def load(self, state: dict) -> None:
        self.names = state["names"]
        self.sums, self.counts = state["sums"].to(self.device), state["counts"].to(self.device)
