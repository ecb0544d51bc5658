"""Means of losses over all timesteps and over each quarter of them."""

import math

import pytest
import torch

from train.statistics import LossStatistics

T = torch.tensor([0, 999, 1000, 3999])  # two of the first quarter, one of the second and one of the last
LOSS = torch.tensor([1.0, 2.0, 4.0, 8.0])


@pytest.fixture
def statistics() -> LossStatistics:
    return LossStatistics(torch.device("cpu"))


def means(statistics: LossStatistics) -> dict[str, float]:
    return statistics.means(statistics.sums, statistics.counts)


def test_means_over_all_and_over_each_quarter(statistics):
    statistics.add({"loss": LOSS, "mse": 10 * LOSS}, T, 4000)
    assert means(statistics) == {
        **{"loss": 3.75, "loss_q0": 1.5, "loss_q1": 4.0, "loss_q3": 8.0},
        **{"mse": 37.5, "mse_q0": 15.0, "mse_q1": 40.0, "mse_q3": 80.0},
    }


def test_every_image_counts_once_whatever_the_batches(statistics):
    whole = LossStatistics(torch.device("cpu"))
    whole.add({"loss": LOSS}, T, 4000)
    for part in (slice(0, 1), slice(1, 4)):
        statistics.add({"loss": LOSS[part]}, T[part], 4000)
    assert means(statistics) == means(whole)


def test_quarters_of_a_schedule_that_four_does_not_divide(statistics):
    """Every timestep is in one quarter, and the quarters ascend."""
    t = torch.arange(10)
    statistics.add({"loss": t.float()}, t, 10)
    assert statistics.counts.tolist() == [10, 3, 2, 3, 2]
    assert means(statistics) == {"loss": 4.5, "loss_q0": 1.0, "loss_q1": 3.5, "loss_q2": 6.0, "loss_q3": 8.5}


def test_nothing_of_before_is_left_after_a_reset(statistics):
    statistics.add({"loss": LOSS}, T, 4000)
    statistics.reset()
    statistics.add({"loss": torch.tensor([5.0])}, torch.tensor([3000]), 4000)
    assert means(statistics) == {"loss": 5.0, "loss_q3": 5.0}


def test_a_state_goes_on_where_it_was_saved(statistics):
    statistics.add({"loss": LOSS}, T, 4000)
    other = LossStatistics(torch.device("cpu"))
    other.load(statistics.state())
    for one in (statistics, other):
        one.add({"loss": LOSS * math.pi}, T, 4000)
    assert means(other) == means(statistics)
    empty = LossStatistics(torch.device("cpu"))
    empty.load(LossStatistics(torch.device("cpu")).state())
    empty.add({"loss": LOSS}, T, 4000)
    assert means(empty)["loss"] == 3.75


def test_small_losses_count_beside_large_ones(statistics):
    """Sums of many steps are not rounded to float32."""
    statistics.add({"loss": torch.tensor([2.0**24])}, torch.tensor([0]), 10)
    for _ in range(10):
        statistics.add({"loss": torch.tensor([1.0])}, torch.tensor([0]), 10)
    assert means(statistics)["loss"] == (2**24 + 10) / 11
