"""Angles of the triangle of noise, image and latent."""

import dataclasses

import pytest
import torch

from analyze.measures.triangle import most_probable, triangle


def test_angles_of_the_mean_cosines_match_the_authors(golden):
    result = triangle(golden["noise"], golden["samples"], golden["latents"])
    assert result.image_of_mean == pytest.approx(golden.value("angle_mean_cossim_img"), rel=1e-6)
    assert result.noise_of_mean == pytest.approx(golden.value("angle_mean_cossim_noise"), rel=1e-6)
    assert result.latent_of_mean == pytest.approx(golden.value("angle_mean_cossim_latent"), rel=1e-6)


def test_angles_of_the_samples_match_the_authors(golden):
    result = triangle(golden["noise"], golden["samples"], golden["latents"])
    angles = golden["angles_per_sample_image_noise_latent"]
    assert [result.image_mean, result.noise_mean, result.latent_mean] == pytest.approx(
        angles.mean(1).tolist(), rel=1e-6
    )
    assert [result.image_std, result.noise_std, result.latent_std] == pytest.approx(angles.std(1).tolist(), rel=1e-5)


def test_the_mean_angles_sum_to_180_degrees(random_images):
    result = triangle(random_images(40), 0.3 * random_images(40), random_images(40) + 1)
    assert result.image_mean + result.noise_mean + result.latent_mean == pytest.approx(180, abs=1e-9)


def test_each_angle_belongs_to_its_corner():
    """Noise at (4, 0), image at (0, 0) and latent at (0, 3), plus an offset, have 90°, 36.87° and 53.13°."""
    noise, samples, latents = torch.zeros(3, 4, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = 4, 3
    for offset in (0.0, 4096.0):
        result = dataclasses.asdict(triangle(noise + offset, samples + offset, latents + offset))
        assert [result[f"{name}_mean"] for name in ("image", "noise", "latent")] == pytest.approx(
            [90, 36.869898, 53.130102]
        )
        assert [result[f"{name}_of_mean"] for name in ("image", "noise", "latent")] == pytest.approx(
            [90, 36.869898, 53.130102]
        )
        assert [result[f"{name}_std"] for name in ("image", "noise", "latent")] == pytest.approx([0, 0, 0], abs=1e-5)


def test_coinciding_corners_have_right_angles(random_images):
    noise, samples = random_images(5), random_images(5)
    result = triangle(noise, samples, noise)
    assert (result.noise_mean, result.latent_mean, result.image_mean) == pytest.approx((90, 90, 0), abs=1e-5)
    point = dataclasses.asdict(triangle(noise, noise, noise))
    expected = {"mean": 90, "std": 0, "probable": 60}  # by the last word of the name
    assert all(value == expected[name.rpartition("_")[2]] for name, value in point.items())


def test_collinear_corners_have_0_and_180_degrees(random_images):
    noise, samples = random_images(5), random_images(5)
    result = triangle(noise, samples, (noise + samples) / 2)
    assert (result.image_mean, result.noise_mean, result.latent_mean) == pytest.approx((0, 0, 180), abs=1e-4)
    assert (result.image_of_mean, result.noise_of_mean, result.latent_of_mean) == pytest.approx((0, 0, 180), abs=1e-4)


def test_the_most_probable_triangle_matches_the_authors(golden):
    result = triangle(golden["noise"], golden["samples"], golden["latents"])
    assert (result.latent_most_probable, result.image_most_probable, result.noise_most_probable) == (126, 15, 39)


@pytest.mark.parametrize("spread", [1.0, 4.0, 30.0])
def test_the_most_probable_triangle_matches_exhaustive_search(spread):
    generator = torch.Generator().manual_seed(0)
    image, noise, latent = (
        mean + spread * (torch.rand(200, generator=generator) - 0.5) for mean in (40.2, 60.9, 180 - 40.2 - 60.9)
    )
    histograms = [[0] * 181 for _ in range(3)]
    for histogram, angles in zip(histograms, (image, noise, latent), strict=True):
        for angle in angles.tolist():
            histogram[int(angle)] += 1
    triples = [(i, j, 180 - i - j) for i in range(181) for j in range(181 - i)]
    products = [histograms[0][i] * histograms[1][j] * histograms[2][k] for i, j, k in triples]
    assert max(products) > 0
    assert most_probable(image, noise, latent) == triples[products.index(max(products))]


def test_the_first_of_equally_probable_triangles_wins():
    image, noise = torch.tensor([30.5, 40.5]), torch.tensor([60.5, 50.5])
    latent = torch.tensor([90.5, 80.5])  # (30, 60, 90), (40, 50, 90) and (40, 60, 80) occur once each
    assert most_probable(image, noise, latent) == (30, 60, 90)


def test_angles_whose_bins_never_sum_to_180_are_rounded():
    """Bins 90, 36 and 53 sum to 179, so the result is the triangle of whole degrees nearest to the mean."""
    noise, samples, latents = torch.zeros(3, 4, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = 4, 3
    result = triangle(noise, samples, latents)
    assert (result.image_most_probable, result.noise_most_probable, result.latent_most_probable) == (90, 37, 53)
    row = triangle(noise, samples, noise / 2)
    assert (row.image_most_probable, row.noise_most_probable, row.latent_most_probable) == (0, 0, 180)
    point = triangle(noise, noise, noise)
    assert (point.image_most_probable, point.noise_most_probable, point.latent_most_probable) == (60, 60, 60)
