"""The triangle and distances of the last checkpoint's images inverted by another."""

import dataclasses

import pytest

from analyze.measures.distances import distances
from analyze.measures.early_inverter import early_inverter
from analyze.measures.triangle import triangle


def test_the_numbers_are_those_of_triangle_and_distances(golden):
    corners = golden["noise"], golden["samples"], golden["latents"]
    found = dataclasses.asdict(early_inverter(*corners))
    assert found == dataclasses.asdict(triangle(*corners)) | dataclasses.asdict(distances(*corners))
    assert found["latent_of_mean"] == pytest.approx(golden.value("angle_mean_cossim_latent"), rel=1e-6)
    assert found["noise_latent"] == pytest.approx(golden.value("dist_mean_l2_noise_lat"), rel=1e-4)
