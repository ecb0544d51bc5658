"""Distances of a trajectory from the line between noise and latent."""

import pytest
import torch

from analyze.measures.interpolation import LAMBDAS, interpolation_map


def test_the_lambdas_are_even():
    assert pytest.approx([0.05 * i for i in range(21)]) == LAMBDAS


def test_as_passes_over_all_points_give_it(drawn):
    noise, latents, trajectory = drawn(6), drawn(6), torch.stack([drawn(4) for _ in range(3)])
    found = interpolation_map(noise, latents, trajectory)
    assert found.lambdas == LAMBDAS
    assert len(found.mean) == 3 and all(len(row) == 21 for row in found.mean)
    for x_t, row in zip(trajectory.double(), found.mean, strict=True):
        for λ, mean in zip(LAMBDAS, row, strict=True):
            point = (1 - λ) * noise[:4].double() + λ * latents[:4].double()
            assert mean == pytest.approx((point - x_t).flatten(1).norm(dim=1).mean().item(), rel=1e-12)


def test_a_trajectory_on_the_line_is_nowhere_away_from_it(drawn):
    """At T it starts at the noise (λ = 0), on the way it passes the middle, and it ends at the latent (λ = 1)."""
    noise, latents = drawn(5), drawn(5)
    found = interpolation_map(noise, latents, torch.stack([noise, (noise + latents) / 2, latents])).mean
    assert found[0][0] == found[2][20] == 0
    assert found[1][10] == pytest.approx(0, abs=1e-6)
    length = (noise - latents).double().flatten(1).norm(dim=1).mean().item()
    assert found[0][20] == pytest.approx(length) and found[0][5] == pytest.approx(length / 4)


def test_a_large_common_offset_changes_nothing(drawn):
    noise, latents, trajectory = drawn(4), drawn(4), drawn(4)[None]
    found = interpolation_map(noise, latents, trajectory).mean
    assert interpolation_map(noise + 4096, latents + 4096, trajectory + 4096).mean == found


def test_a_latent_that_is_its_noise(drawn):
    noise, trajectory = drawn(4), drawn(4)[None]
    (row,) = interpolation_map(noise, noise, trajectory).mean
    assert len(set(row)) == 1 and row[0] > 0
