"""Errors of images regenerated from their latents."""

import pytest
import torch

from analyze.measures.reconstruction import Reconstruction, reconstruction


def test_matches_the_authors_value(golden):
    result = reconstruction(golden["samples"], golden["samples_other"])
    assert result.mse == pytest.approx(0.009716981090605259, rel=1e-6)


@pytest.mark.parametrize("offset", [0.0, 4096.0])
def test_errors_computed_by_hand(offset):
    """The differences are 1, −3, 0 and 0."""
    samples = torch.zeros(2, 1, 1, 2)
    reconstructions = torch.tensor([-1.0, 3.0, 0.0, 0.0]).reshape(2, 1, 1, 2)
    assert reconstruction(samples + offset, reconstructions + offset) == Reconstruction(1.0, 2.5)


def test_the_error_is_symmetric(random_images):
    samples, other = random_images(5), random_images(5)
    assert reconstruction(samples, other) == reconstruction(other, samples)
    assert reconstruction(samples, samples) == Reconstruction(0, 0)
