"""Distances of a trajectory from the line between noise and latent."""

import pytest
import torch

from analyze.measures.interpolation import LAMBDAS, interpolation_map


def test_lambdas_are_evenly_spaced():
    assert pytest.approx([0.05 * i for i in range(21)]) == LAMBDAS


def test_matches_the_distance_from_each_point(random_images):
    noise, latents, trajectory = random_images(6), random_images(6), torch.stack([random_images(4) for _ in range(3)])
    result = interpolation_map(noise, latents, trajectory)
    assert result.lambdas == LAMBDAS
    assert len(result.mean) == 3 and all(len(row) == 21 for row in result.mean)
    for x_t, row in zip(trajectory.double(), result.mean, strict=True):
        for λ, mean in zip(LAMBDAS, row, strict=True):
            point = (1 - λ) * noise[:4].double() + λ * latents[:4].double()
            assert mean == pytest.approx((point - x_t).flatten(1).norm(dim=1).mean().item(), rel=1e-12)


def test_a_trajectory_on_the_line_has_distance_0(random_images):
    """The trajectory starts at the noise (λ = 0), passes the midpoint and ends at the latent (λ = 1)."""
    noise, latents = random_images(5), random_images(5)
    result = interpolation_map(noise, latents, torch.stack([noise, (noise + latents) / 2, latents])).mean
    assert result[0][0] == result[2][20] == 0
    assert result[1][10] == pytest.approx(0, abs=1e-6)
    length = (noise - latents).double().flatten(1).norm(dim=1).mean().item()
    assert result[0][20] == pytest.approx(length) and result[0][5] == pytest.approx(length / 4)


def test_a_large_common_offset_preserves_the_result(random_images):
    noise, latents, trajectory = random_images(4), random_images(4), random_images(4)[None]
    result = interpolation_map(noise, latents, trajectory).mean
    assert interpolation_map(noise + 4096, latents + 4096, trajectory + 4096).mean == result


def test_a_latent_equal_to_its_noise(random_images):
    noise, trajectory = random_images(4), random_images(4)[None]
    (row,) = interpolation_map(noise, noise, trajectory).mean
    assert len(set(row)) == 1 and row[0] > 0
