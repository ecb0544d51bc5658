"""Training never asks the device for a number between two logged steps: a GPU would be waited for.

Shown on PyTorch's meta device, where nothing has a value: whoever asks for one fails.
"""

import pytest
import torch

from configs.schema import Diffusion
from diffusion.losses import GaussianDiffusion
from diffusion.schedule import Schedule
from train.ema import Ema
from train.statistics import LossStatistics

META = torch.device("meta")


@pytest.mark.parametrize("kind", ["simple", "hybrid", "vlb"])
def test_losses_statistics_and_averages(kind, randomised):
    network = randomised(out_channels=6).to(META).requires_grad_()
    average, statistics = Ema(network, 0.99), LossStatistics(META)
    objective = GaussianDiffusion(Schedule.of(Diffusion()).to(META))
    x_0, t = torch.zeros(4, 3, 8, 8, device=META), torch.zeros(4, dtype=torch.long, device=META)
    losses = objective.losses(network, x_0, t, x_0, kind)
    losses.loss.mean().backward()
    statistics.add(losses.parts(), t, objective.schedule.steps)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    average.update(network)
    with pytest.raises((RuntimeError, NotImplementedError)):  # what a wait would look like
        losses.loss.mean().item()
