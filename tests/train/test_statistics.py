"""Mean losses over all timesteps and over each quarter of the timesteps."""

import math

import pytest
import torch

from train.statistics import LossStatistics

T = torch.tensor([0, 999, 1000, 3999])  # two in the first quarter, one in the second and one in the last
LOSS = torch.tensor([1.0, 2.0, 4.0, 8.0])


@pytest.fixture
def statistics() -> LossStatistics:
    return LossStatistics(torch.device("cpu"))


def test_means_over_all_timesteps_and_over_each_quarter(statistics):
    statistics.add({"loss": LOSS, "mse": 10 * LOSS}, T, 4000)
    assert statistics.means() == {
        **{"loss": 3.75, "loss_q0": 1.5, "loss_q1": 4.0, "loss_q3": 8.0},
        **{"mse": 37.5, "mse_q0": 15.0, "mse_q1": 40.0, "mse_q3": 80.0},
    }


def test_means_do_not_depend_on_the_batch_sizes(statistics):
    whole = LossStatistics(torch.device("cpu"))
    whole.add({"loss": LOSS}, T, 4000)
    for part in (slice(0, 1), slice(1, 4)):
        statistics.add({"loss": LOSS[part]}, T[part], 4000)
    assert statistics.means() == whole.means()


def test_quarters_if_steps_are_not_divisible_by_four(statistics):
    """Each timestep belongs to exactly one quarter, in ascending order."""
    t = torch.arange(10)
    statistics.add({"loss": t.float()}, t, 10)
    assert statistics.counts.tolist() == [10, 3, 2, 3, 2]
    assert statistics.means() == {"loss": 4.5, "loss_q0": 1.0, "loss_q1": 3.5, "loss_q2": 6.0, "loss_q3": 8.5}


def test_reset_discards_earlier_losses(statistics):
    statistics.add({"loss": LOSS}, T, 4000)
    statistics.reset()
    statistics.add({"loss": torch.tensor([5.0])}, torch.tensor([3000]), 4000)
    assert statistics.means() == {"loss": 5.0, "loss_q3": 5.0}


def test_loaded_state_continues_the_sums(statistics):
    statistics.add({"loss": LOSS}, T, 4000)
    other = LossStatistics(torch.device("cpu"))
    other.load_state_dict(statistics.state_dict())
    for copy in (statistics, other):
        copy.add({"loss": LOSS * math.pi}, T, 4000)
    assert other.means() == statistics.means()
    empty = LossStatistics(torch.device("cpu"))
    empty.load_state_dict(LossStatistics(torch.device("cpu")).state_dict())
    empty.add({"loss": LOSS}, T, 4000)
    assert empty.means()["loss"] == 3.75


def test_sums_are_accumulated_in_float64(statistics):
    """In float32, the small losses would be lost next to the large one."""
    statistics.add({"loss": torch.tensor([2.0**24])}, torch.tensor([0]), 10)
    for _ in range(10):
        statistics.add({"loss": torch.tensor([1.0])}, torch.tensor([0]), 10)
    assert statistics.means()["loss"] == (2**24 + 10) / 11
