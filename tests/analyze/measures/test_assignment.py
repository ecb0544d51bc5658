"""The optimal assignment: brute force, closed forms, and no range is solved twice."""

import itertools

import pytest
import torch

from analyze.measures import assignment as module
from analyze.measures.assignment import Assignment, optimal_assignment
from analyze.measures.hungarian import hungarian
from analyze.measures.transport_gap import transport_gap


@pytest.fixture
def linear_map(random_images):
    """Return a function that draws n noises x_T and the images A x_T of a symmetric positive definite matrix A."""

    def draw(n: int) -> tuple[torch.Tensor, torch.Tensor]:
        noise = random_images(n).double()
        factor = torch.randn(192, 192, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        matrix = factor @ factor.T / 192 + 0.01 * torch.eye(192, dtype=torch.float64)
        return noise, (noise.flatten(1) @ matrix).reshape(noise.shape)

    return draw


def test_agrees_with_all_permutations(random_images):
    noise, samples = random_images(6), random_images(6)
    costs = (samples.flatten(1)[:, None] - noise.flatten(1)[None]).double().pow(2).sum(dim=2)
    totals = {order: costs[range(6), order].sum().item() for order in itertools.permutations(range(6))}
    best = min(totals, key=totals.get)
    result = optimal_assignment(noise, samples, 0, 6)
    assert result.optimal_cost == pytest.approx(totals[best] / 6, rel=1e-12)
    assert result.own_cost == pytest.approx(totals[tuple(range(6))] / 6, rel=1e-12)
    assert result.random_cost == pytest.approx(sum(totals.values()) / len(totals) / 6, rel=1e-12)
    assert result.accuracy == sum(i == j for i, j in enumerate(best)) / 6


def test_a_positive_definite_linear_map_is_optimal(linear_map):
    """It is the gradient of the convex function x·Ax/2, so its pairs are an optimal assignment of any points."""
    result = optimal_assignment(*linear_map(50), 0, 50)
    assert result.accuracy == 1 and result.own_cost == result.optimal_cost < result.random_cost


def test_an_indefinite_linear_map_is_not_optimal(random_images):
    noise = random_images(50)
    result = optimal_assignment(noise, -noise, 0, 50)
    assert result.accuracy == 0 and result.own_cost > result.random_cost > result.optimal_cost


def test_the_range_selects_the_pairs(random_images):
    """The pairs of the second range are swapped, those of the first are not."""
    noise = random_images(8)
    samples = noise[[0, 1, 2, 3, 5, 4, 7, 6]] / 2
    assert optimal_assignment(noise, samples, 0, 4).accuracy == 1
    assert optimal_assignment(noise, samples, 4, 8).accuracy == 0
    assert optimal_assignment(noise, samples, 0, 8).accuracy == 0.5


def test_measures_share_the_assignment_of_a_range(random_images, monkeypatch):
    """A chunk of 128 images is also a subset of the transport gap."""
    noise, samples = random_images(256), random_images(256)
    solved: list[int] = []

    def solve(noise: torch.Tensor, samples: torch.Tensor) -> Assignment:
        solved.append(len(noise))
        return Assignment(0.0, 2.0, 1.0, 3.0)

    monkeypatch.setattr(module, "_solve", solve)
    hungarian(noise, samples, mapping_images=128)
    transport_gap(noise.clone(), samples.clone())
    assert solved == [128, 128, 64, 256]
    transport_gap(noise, samples / 2)  # another checkpoint
    assert solved[4:] == [64, 128, 256]
