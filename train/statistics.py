"""Mean losses since the last logged step, over all timesteps and over each quarter of the timesteps."""

import copy

import torch
from accelerate import Accelerator
from torch import Tensor

QUARTERS = 4


class LossStatistics:
    """Sums of losses, kept on the device so that training does not synchronize with it between logged steps.

    `sums` [losses, 1 + quarters] and `counts` [1 + quarters]: column 0 is over all t, the others over each quarter.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.names: list[str] = []
        self.sums, self.counts = self._zeros(0, 1 + QUARTERS), self._zeros(1 + QUARTERS)

    def _zeros(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.float64, device=self.device)

    def reset(self) -> None:
        """Start new sums, in place."""
        self.sums.zero_()
        self.counts.zero_()

    def add(self, losses: dict[str, Tensor], t: Tensor, steps: int) -> None:
        """Add losses of a batch, each [n], at timesteps t [n] in 0 … steps − 1."""
        if not self.names:
            self.names = list(losses)
            self.sums = self._zeros(len(losses), 1 + QUARTERS)
        values = torch.stack([loss.detach().double() for loss in losses.values()])
        quarter = 1 + t * QUARTERS // steps
        self.sums[:, 0] += values.sum(dim=1)
        # index_put_ adds in a fixed order; index_add_ on a GPU does not, so that the log would not be reproducible.
        rows = torch.arange(len(values), device=t.device)[:, None]
        self.sums.index_put_((rows, quarter), values, accumulate=True)
        self.counts[0] += len(t)
        self.counts.index_put_((quarter,), torch.ones_like(t, dtype=torch.float64), accumulate=True)

    def over_processes(self, accelerator: Accelerator) -> "LossStatistics":
        """Return the statistics of all processes together."""
        total = copy.copy(self)
        total.sums, total.counts = accelerator.reduce((self.sums, self.counts), "sum")
        return total

    def means(self) -> dict[str, float]:
        """Return "loss", "loss_q0" … "loss_q3" and the same for each loss, without quarters that have no timestep."""
        means = (self.sums / self.counts).tolist()
        suffixes = ["", *(f"_q{quarter}" for quarter in range(QUARTERS))]
        return {
            f"{name}{suffix}": means[row][column]
            for row, name in enumerate(self.names)
            for column, suffix in enumerate(suffixes)
            if self.counts[column] > 0
        }

    def state_dict(self) -> dict:
        return {"names": self.names, "sums": self.sums.cpu(), "counts": self.counts.cpu()}

    def load_state_dict(self, state: dict) -> None:
        self.names = state["names"]
        self.sums, self.counts = state["sums"].to(self.device), state["counts"].to(self.device)
