"""The largest correlations of pixels against the authors' values and a whole correlation matrix."""

import dataclasses

import pytest
import torch
from torch import Tensor

from analyze.measures.correlation import TopCorrelation, correlation, largest, patch_correlation, top_correlation
from diffusion.randomness import normal

AUTHORS = {  # by field of Correlation: mean and std by their code on the golden inputs
    "noise": (0.30715280771255493, 0.011136279441416264),
    "samples": (0.9721162915229797, 0.0008696377626620233),
    "latents": (0.31389591097831726, 0.024885835126042366),
    "patch_noise": (0.24934789538383484, 0.01661093346774578),
    "patch_samples": (0.9659981727600098, 0.0035240547731518745),
    "patch_latents": (0.25512832403182983, 0.018293384462594986),
}


def by_the_whole_matrix(pixels: Tensor, top: int) -> Tensor:
    matrix = torch.corrcoef(pixels.double().T).abs()
    a, b = torch.triu_indices(len(matrix), len(matrix), offset=1)
    return matrix[a, b].sort(descending=True).values[:top]


def test_as_the_authors_compute_them(golden):
    found = correlation(golden["noise"], golden["samples"], golden["latents"], correlation_images=1000)
    for name, expected in AUTHORS.items():
        assert (getattr(found, name), getattr(found, f"{name}_std")) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("pixels_at_once", [1, 2, 7, 50, 192, 1000])
def test_the_size_of_blocks_changes_nothing(pixels_at_once, drawn):
    pixels = drawn(40).flatten(1)
    expected = by_the_whole_matrix(pixels, 10)
    assert largest(pixels, 10, pixels_at_once).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_a_pixel_of_which_there_are_two_is_correlated_with_itself(drawn):
    """Also where it is turned around, scaled or far away in the image."""
    samples = drawn(40)
    assert top_correlation(samples, top=1).mean < 0.9
    for copy in (samples[:, :1, :1, :1], 5 - 3 * samples[:, :1, :1, :1]):
        doubled = samples.clone()
        doubled[:, 2:, 7:, 7:] = copy
        assert top_correlation(doubled, top=1).mean == pytest.approx(1, abs=1e-9)
        assert top_correlation(doubled, top=2).mean < 0.95


def test_scale_and_offset_of_pixels_change_nothing(drawn):
    samples = drawn(40)
    found, scale = top_correlation(samples), 2.0 ** torch.arange(192).remainder(7).reshape(3, 8, 8)
    for other in (4 * samples, -samples, scale * samples, samples + 4096):
        changed = top_correlation(other)
        assert (changed.mean, changed.std) == pytest.approx((found.mean, found.std), rel=1e-9)


def test_independent_noise_is_at_its_floor():
    noise = normal((3, 16, 16), 1, "test", ((i,) for i in range(300)))
    found = correlation(noise, noise.abs(), noise**3, correlation_images=1000)
    assert found.noise == pytest.approx(found.floor, rel=0.1) and found.floor == pytest.approx(0.25, rel=0.1)
    assert found.patch_noise == pytest.approx(found.patch_floor, rel=0.05)
    assert found.patch_floor < found.floor


def test_the_floor_depends_on_the_number_and_size_of_images_alone(drawn):
    first, second = (correlation(drawn(30), drawn(30), drawn(30), correlation_images=20) for _ in range(2))
    assert (first.floor, first.patch_floor) == (second.floor, second.patch_floor)
    fewer = correlation(drawn(30), drawn(30), drawn(30), correlation_images=10)
    assert fewer.floor > first.floor + 0.05


def test_only_the_first_images_count(drawn):
    noise, samples, latents = drawn(30), drawn(30), drawn(30)
    found = correlation(noise, samples, latents, correlation_images=20)
    assert found == correlation(noise[:20], samples[:20], latents[:20], correlation_images=1000)
    assert found != correlation(noise, samples, latents, correlation_images=1000)
    assert found.samples == top_correlation(samples[:20]).mean and found.patch_latents_std > 0


def test_constant_pixels_are_correlated_with_none(drawn):
    """A tenth of a number is not exact, so that a careless mean would leave rounding to correlate."""
    constant = (drawn(1) / 10).expand(30, -1, -1, -1)
    assert top_correlation(constant) == patch_correlation(constant) == TopCorrelation(0, 0)
    samples = constant.clone()
    samples[:, 0, 0, :2] = drawn(30)[:, 0, 0, :2]
    pair = by_the_whole_matrix(samples[:, 0, 0, :2], 1).item()
    assert top_correlation(samples).mean == pytest.approx(pair / 10, rel=1e-9)
    found = correlation(constant, constant, constant, correlation_images=1000)
    assert all(value == 0 for name, value in dataclasses.asdict(found).items() if "floor" not in name)


@pytest.mark.parametrize(("pixels", "pairs"), [(1, 0), (2, 1), (3, 3), (5, 10), (6, 15)])
def test_all_pairs_count_where_there_are_few(pixels, pairs, drawn):
    images = drawn(20)[:, :1, :1, :pixels]
    expected = by_the_whole_matrix(images.flatten(1), 12) if pairs else torch.empty(0)
    assert len(expected) == min(pairs, 12)
    found = top_correlation(images, top=12)
    assert found.mean == pytest.approx(expected.mean().item() if pairs else 0)
    assert found.std == pytest.approx(expected.std().item() if pairs > 1 else 0)


def test_one_image_has_no_correlations_and_two_have_full_ones(drawn):
    assert top_correlation(drawn(1)) == TopCorrelation(0, 0)
    assert top_correlation(drawn(2)).mean == pytest.approx(1, abs=1e-9)


def test_patches_are_taken_apart_and_together(drawn):
    """Of 12 × 9 pixels: patches of 8 × 8, 8 × 1, 4 × 8 and 4 × 1, of which the last has 12 pixels and 66 pairs."""
    images = torch.cat([drawn(20), drawn(20)], dim=2).repeat(1, 1, 1, 2)[:, :, :12, :9]
    parts = (images[:, :, y, x] for y in (slice(8), slice(8, None)) for x in (slice(8), slice(8, None)))
    expected = torch.cat([by_the_whole_matrix(part.flatten(1), 20) for part in parts])
    found = patch_correlation(images)
    assert len(expected) == 80
    assert (found.mean, found.std) == pytest.approx((expected.mean().item(), expected.std().item()), rel=1e-9)


def test_a_patch_of_one_pixel_has_no_pairs(drawn):
    images = torch.nn.functional.pad(drawn(20)[:, :1], (0, 1, 0, 1), value=0.1)
    inner = patch_correlation(images[:, :, :8, :8])
    edges = patch_correlation(images)
    assert inner.mean * 20 / 60 == pytest.approx(edges.mean, rel=1e-9)
