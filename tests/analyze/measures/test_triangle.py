"""Angles of the triangle of noise, image and latent."""

import dataclasses

import pytest
import torch

from analyze.measures.triangle import most_probable, triangle


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
    expected = {"mean": 90, "std": 0, "probable": 60}  # by the last word of a name
    assert all(value == expected[name.rpartition("_")[2]] for name, value in nothing.items())


def test_corners_in_a_row_have_0_and_180_degrees(drawn):
    noise, samples = drawn(5), drawn(5)
    found = triangle(noise, samples, (noise + samples) / 2)
    assert (found.image_mean, found.noise_mean, found.latent_mean) == pytest.approx((0, 0, 180), abs=1e-4)
    assert (found.image_of_mean, found.noise_of_mean, found.latent_of_mean) == pytest.approx((0, 0, 180), abs=1e-4)


def test_the_most_probable_triangle_is_the_authors(golden):
    found = triangle(golden["noise"], golden["samples"], golden["latents"])
    assert (found.latent_most_probable, found.image_most_probable, found.noise_most_probable) == (126, 15, 39)


@pytest.mark.parametrize("spread", [1.0, 4.0, 30.0])
def test_the_most_probable_triangle_by_trying_all(spread):
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


def test_of_equally_probable_triangles_the_first_counts():
    image, noise = torch.tensor([30.5, 40.5]), torch.tensor([60.5, 50.5])
    latent = torch.tensor([90.5, 80.5])  # 30, 60, 90 and 40, 50, 90 and 40, 60, 80 once each
    assert most_probable(image, noise, latent) == (30, 60, 90)


def test_angles_that_never_add_up_are_rounded():
    """Bins 90, 36 and 53 add up to 179: the triangle of whole degrees nearest to the mean stands for them."""
    noise, samples, latents = torch.zeros(3, 4, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = 4, 3
    found = triangle(noise, samples, latents)
    assert (found.image_most_probable, found.noise_most_probable, found.latent_most_probable) == (90, 37, 53)
    row = triangle(noise, samples, noise / 2)
    assert (row.image_most_probable, row.noise_most_probable, row.latent_most_probable) == (0, 0, 180)
    point = triangle(noise, noise, noise)
    assert (point.image_most_probable, point.noise_most_probable, point.latent_most_probable) == (60, 60, 60)
