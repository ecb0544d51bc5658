"""The largest pixel correlations against the authors' values and against the full correlation matrix."""

import dataclasses

import pytest
import torch
from torch import Tensor

from analyze.measures.correlation import (
    TopCorrelation,
    correlation,
    largest_correlations,
    patch_correlation,
    top_correlation,
)
from diffusion.randomness import normal

AUTHORS = {  # mean and std computed by their code on the reference inputs, by field of Correlation
    "noise": (0.30715280771255493, 0.011136279441416264),
    "samples": (0.9721162915229797, 0.0008696377626620233),
    "latents": (0.31389591097831726, 0.024885835126042366),
    "patch_noise": (0.24934789538383484, 0.01661093346774578),
    "patch_samples": (0.9659981727600098, 0.0035240547731518745),
    "patch_latents": (0.25512832403182983, 0.018293384462594986),
}


def from_full_matrix(pixels: Tensor, top: int) -> Tensor:
    """Return the `top` largest absolute correlations, from the full correlation matrix."""
    matrix = torch.corrcoef(pixels.double().T).abs()
    a, b = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return matrix[a, b].sort(descending=True).values[:top]


def test_matches_the_authors_values(golden):
    result = correlation(golden["noise"], golden["samples"], golden["latents"], correlation_images=1000)
    for name, expected in AUTHORS.items():
        assert (getattr(result, name), getattr(result, f"{name}_std")) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pixels_at_once", [1, 2, 7, 50, 192, 1000])
def test_block_size_does_not_change_the_result(pixels_at_once, random_images):
    pixels = random_images(40).flatten(1)
    expected = from_full_matrix(pixels, 10)
    assert largest_correlations(pixels, 10, pixels_at_once).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_a_duplicated_pixel_has_correlation_1(random_images):
    """The copy may be negated, scaled and far away in the image."""
    samples = random_images(40)
    assert top_correlation(samples, top=1).mean < 0.9
    for copy in (samples[:, :1, :1, :1], 5 - 3 * samples[:, :1, :1, :1]):
        doubled = samples.clone()
        doubled[:, 2:, 7:, 7:] = copy
        assert top_correlation(doubled, top=1).mean == pytest.approx(1, abs=1e-9)
        assert top_correlation(doubled, top=2).mean < 0.95


def test_scale_and_offset_of_pixels_preserve_the_result(random_images):
    samples = random_images(40)
    result, scale = top_correlation(samples), 2.0 ** torch.arange(192).remainder(7).reshape(3, 8, 8)
    for other in (4 * samples, -samples, scale * samples, samples + 4096):
        changed = top_correlation(other)
        assert (changed.mean, changed.std) == pytest.approx((result.mean, result.std), rel=1e-9)


def test_independent_noise_is_at_the_floor():
    noise = normal((3, 16, 16), 1, "test", ((i,) for i in range(300)))
    result = correlation(noise, noise.abs(), noise**3, correlation_images=1000)
    assert result.noise == pytest.approx(result.floor, rel=0.1) and result.floor == pytest.approx(0.25, rel=0.1)
    assert result.patch_noise == pytest.approx(result.patch_floor, rel=0.05)
    assert result.patch_floor < result.floor


def test_the_floor_depends_only_on_the_number_and_size_of_images(random_images):
    first, second = (
        correlation(random_images(30), random_images(30), random_images(30), correlation_images=20) for _ in range(2)
    )
    assert (first.floor, first.patch_floor) == (second.floor, second.patch_floor)
    fewer = correlation(random_images(30), random_images(30), random_images(30), correlation_images=10)
    assert fewer.floor > first.floor + 0.05


def test_only_the_first_images_are_used(random_images):
    noise, samples, latents = random_images(30), random_images(30), random_images(30)
    result = correlation(noise, samples, latents, correlation_images=20)
    assert result == correlation(noise[:20], samples[:20], latents[:20], correlation_images=1000)
    assert result != correlation(noise, samples, latents, correlation_images=1000)
    assert result.samples == top_correlation(samples[:20]).mean and result.patch_latents_std > 0


def test_constant_pixels_have_correlation_0(random_images):
    """A tenth is not exact in binary, so subtracting a rounded mean would leave rounding errors that correlate."""
    constant = (random_images(1) / 10).expand(30, -1, -1, -1)
    assert top_correlation(constant) == patch_correlation(constant) == TopCorrelation(0, 0)
    samples = constant.clone()
    samples[:, 0, 0, :2] = random_images(30)[:, 0, 0, :2]
    pair = from_full_matrix(samples[:, 0, 0, :2], 1).item()
    assert top_correlation(samples).mean == pytest.approx(pair / 10, rel=1e-9)
    result = correlation(constant, constant, constant, correlation_images=1000)
    assert all(value == 0 for name, value in dataclasses.asdict(result).items() if "floor" not in name)


@pytest.mark.parametrize(("pixels", "pairs"), [(1, 0), (2, 1), (3, 3), (5, 10), (6, 15)])
def test_fewer_pairs_than_requested_all_count(pixels, pairs, random_images):
    images = random_images(20)[:, :1, :1, :pixels]
    expected = from_full_matrix(images.flatten(1), 12) if pairs else torch.empty(0)
    assert len(expected) == min(pairs, 12)
    result = top_correlation(images, top=12)
    assert result.mean == pytest.approx(expected.mean().item() if pairs else 0)
    assert result.std == pytest.approx(expected.std().item() if pairs > 1 else 0)


def test_one_image_has_correlation_0_and_two_have_correlation_1(random_images):
    assert top_correlation(random_images(1)) == TopCorrelation(0, 0)
    assert top_correlation(random_images(2)).mean == pytest.approx(1, abs=1e-9)


def test_statistics_pool_the_largest_of_every_patch(random_images):
    """12 × 9 pixels have patches of 8 × 8, 8 × 1, 4 × 8 and 4 × 1; the last has 12 values and 66 pairs."""
    images = torch.cat([random_images(20), random_images(20)], dim=2).repeat(1, 1, 1, 2)[:, :, :12, :9]
    parts = (images[:, :, y, x] for y in (slice(8), slice(8, None)) for x in (slice(8), slice(8, None)))
    expected = torch.cat([from_full_matrix(part.flatten(1), 20) for part in parts])
    result = patch_correlation(images)
    assert len(expected) == 80
    assert (result.mean, result.std) == pytest.approx((expected.mean().item(), expected.std().item()), rel=1e-9)


def test_a_patch_of_one_pixel_contributes_no_pairs(random_images):
    images = torch.nn.functional.pad(random_images(20)[:, :1], (0, 1, 0, 1), value=0.1)
    inner = patch_correlation(images[:, :, :8, :8])
    edges = patch_correlation(images)
    assert inner.mean * 20 / 60 == pytest.approx(edges.mean, rel=1e-9)
