"""L2 distances between noise, image and latent."""

import pytest
import torch

from analyze.measures.distances import Distances, distances


def test_matches_the_authors_values(golden):
    result = distances(golden["noise"], golden["samples"], golden["latents"])
    for ours, theirs in (("noise_latent", "noise_lat"), ("image_latent", "img_lat"), ("image_noise", "img_noise")):
        assert getattr(result, ours) == pytest.approx(golden.value(f"dist_mean_l2_{theirs}"), rel=1e-4)
        assert getattr(result, f"{ours}_std") == pytest.approx(golden.value(f"dist_std_l2_{theirs}"), rel=1e-4)


@pytest.mark.parametrize("offset", [0.0, 4096.0])
def test_sides_of_known_triangles(offset):
    """Sides 3, 4, 5 and twice that: the shortest side has mean 4.5 and standard deviation 1.5·√2."""
    noise, samples, latents = torch.zeros(3, 2, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = torch.tensor([4.0, 8.0]), torch.tensor([3.0, 6.0])
    result = distances(noise + offset, samples + offset, latents + offset)
    assert result == Distances(
        noise_latent=pytest.approx(7.5),
        image_latent=pytest.approx(4.5),
        image_noise=pytest.approx(6.0),
        noise_latent_std=pytest.approx(2.5 * 2**0.5),
        image_latent_std=pytest.approx(1.5 * 2**0.5),
        image_noise_std=pytest.approx(2.0 * 2**0.5),
    )


def test_equal_tensors_have_distance_0(random_images):
    noise = random_images(5)
    assert distances(noise, noise, noise) == Distances(0, 0, 0, 0, 0, 0)
