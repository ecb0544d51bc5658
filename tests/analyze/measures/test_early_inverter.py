"""Triangle and distances of the last checkpoint's images, inverted by another checkpoint."""

import dataclasses

import pytest

from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.triangle import triangle


def test_matches_triangle_and_distances(golden):
    corners = golden["noise"], golden["samples"], golden["latents"]
    result = dataclasses.asdict(early_inverter(*corners))
    assert result == dataclasses.asdict(triangle(*corners)) | dataclasses.asdict(distances(*corners))
    assert result["latent_of_mean"] == pytest.approx(golden.value("angle_mean_cossim_latent"), rel=1e-6)
    assert result["noise_latent"] == pytest.approx(golden.value("dist_mean_l2_noise_lat"), rel=1e-4)
