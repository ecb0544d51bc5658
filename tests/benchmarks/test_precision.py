"""Differences between precisions are checked against their bounds."""

import pytest

from benchmarks.precision import table


@pytest.mark.parametrize(
    ("quantity", "plain", "other", "allowed"),
    [
        ("distances/noise_latent_mean", 10.0, 10.04, "yes"),
        ("distances/noise_latent_mean", 10.0, 10.06, "NO"),
        ("distances/noise_latent_std", 10.0, 20.0, ""),
        ("noise_mapping/image_to_noise_mean", 0.9, 0.902, "yes"),
        ("noise_mapping/image_to_noise_mean", 0.9, 0.904, "NO"),
        ("correlation/noise_mean", 0.1, 0.2, ""),
        ("triangle/image_of_mean", 20.0, 20.2, "NO"),
        ("triangle/image_most_probable", 20.0, 21.0, ""),
    ],
)
def test_bounded_quantities_are_checked(quantity, plain, other, allowed):
    (*_, row) = table({quantity: plain}, {quantity: other}, "bf16")
    assert row.endswith(f"| {allowed} |")
