"""L2 distances between noise, image and latent."""

import pytest
import torch

from analyze.measures.distances import Distances, distances


def test_as_the_authors_compute_them(golden):
    found = distances(golden["noise"], golden["samples"], golden["latents"])
    for ours, theirs in (("noise_latent", "noise_lat"), ("image_latent", "img_lat"), ("image_noise", "img_noise")):
        assert getattr(found, ours) == pytest.approx(golden.value(f"dist_mean_l2_{theirs}"), rel=1e-4)
        assert getattr(found, f"{ours}_std") == pytest.approx(golden.value(f"dist_std_l2_{theirs}"), rel=1e-4)


@pytest.mark.parametrize("offset", [0.0, 4096.0])
def test_sides_of_known_triangles(offset):
    """3, 4, 5 and twice that: mean 4.5 and standard deviation 1.5·√2 of the shortest side, and so on."""
    noise, samples, latents = torch.zeros(3, 2, 1, 1, 2)
    noise[:, 0, 0, 0], latents[:, 0, 0, 1] = torch.tensor([4.0, 8.0]), torch.tensor([3.0, 6.0])
    found = distances(noise + offset, samples + offset, latents + offset)
    assert found == Distances(
        noise_latent=pytest.approx(7.5),
        image_latent=pytest.approx(4.5),
        image_noise=pytest.approx(6.0),
        noise_latent_std=pytest.approx(2.5 * 2**0.5),
        image_latent_std=pytest.approx(1.5 * 2**0.5),
        image_noise_std=pytest.approx(2.0 * 2**0.5),
    )


def test_equal_tensors_are_nowhere_apart(drawn):
    noise = drawn(5)
    assert distances(noise, noise, noise) == Distances(0, 0, 0, 0, 0, 0)
