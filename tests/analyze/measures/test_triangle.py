"""Angles of the triangle of noise, image and latent."""

import dataclasses

import pytest
import torch

from analyze.measures.triangle import triangle


def test_the_mean_cosines_angles_are_the_authors(golden):
    found = triangle(golden["noise"], golden["samples"], golden["latents"])
    assert found.image_of_mean == pytest.approx(golden.value("angle_mean_cossim_img"), rel=1e-6)
    assert found.noise_of_mean == pytest.approx(golden.value("angle_mean_cossim_noise"), rel=1e-6)
    assert found.latent_of_mean == pytest.approx(golden.value("angle_mean_cossim_latent"), rel=1e-6)


def test_the_samples_own_angles_are_the_authors(golden):
    found = triangle(golden["noise"], golden["samples"], golden["latents"])
    angles = golden["angles_per_sample_image_noise_latent"]
    assert [found.image_mean, found.noise_mean, found.latent_mean] == pytest.approx(angles.mean(1).tolist(), rel=1e-6)
    assert [found.image_std, found.noise_std, found.latent_std] == pytest.approx(angles.std(1).tolist(), rel=1e-5)


def test_a_triangle_has_180_degrees(drawn):
    found = triangle(drawn(40), 0.3 * drawn(40), drawn(40) + 1)
    assert found.image_mean + found.noise_mean + found.latent_mean == pytest.approx(180, abs=1e-9)


def test_each_corner_has_its_own_angle():
    """Noise at (4, 0), image at (0, 0), latent at (0, 3) from the same offset: 90°, 36.87° and 53.13°."""
    noise, samples, latents = torch.zeros(3, 4, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = 4, 3
    for offset in (0.0, 4096.0):
        found = dataclasses.asdict(triangle(noise + offset, samples + offset, latents + offset))
        assert [found[f"{name}_mean"] for name in ("image", "noise", "latent")] == pytest.approx(
            [90, 36.869898, 53.130102]
        )
        assert [found[f"{name}_of_mean"] for name in ("image", "noise", "latent")] == pytest.approx(
            [90, 36.869898, 53.130102]
        )
        assert [found[f"{name}_std"] for name in ("image", "noise", "latent")] == pytest.approx([0, 0, 0], abs=1e-5)


def test_corners_that_coincide_have_right_angles(drawn):
    noise, samples = drawn(5), drawn(5)
    found = triangle(noise, samples, noise)
    assert (found.noise_mean, found.latent_mean, found.image_mean) == pytest.approx((90, 90, 0), abs=1e-5)
    nothing = dataclasses.asdict(triangle(noise, noise, noise))
    assert all(value == (0 if name.endswith("std") else 90) for name, value in nothing.items())


def test_corners_in_a_row_have_0_and_180_degrees(drawn):
    noise, samples = drawn(5), drawn(5)
    found = triangle(noise, samples, (noise + samples) / 2)
    assert (found.image_mean, found.noise_mean, found.latent_mean) == pytest.approx((0, 0, 180), abs=1e-4)
    assert (found.image_of_mean, found.noise_of_mean, found.latent_of_mean) == pytest.approx((0, 0, 180), abs=1e-4)
