"""Training steps do not synchronize with the device between logged steps.

Tested on PyTorch's meta device, where tensors have no values: reading one fails.
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
def test_losses_statistics_and_ema_do_not_synchronize(kind, random_unet):
    network = random_unet(out_channels=6).to(META).requires_grad_()
    average, statistics = Ema(network, 0.99), LossStatistics(META)
    diffusion = GaussianDiffusion(Schedule.from_config(Diffusion()).to(META))
    x_0, t = torch.zeros(4, 3, 8, 8, device=META), torch.zeros(4, dtype=torch.long, device=META)
    losses = diffusion.losses(network, x_0, t, x_0, kind)
    losses.loss.mean().backward()
    statistics.add(losses.parts(), t, diffusion.schedule.steps)
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    average.update()
    with pytest.raises((RuntimeError, NotImplementedError)):  # as a synchronization would
        losses.loss.mean().item()
