"""SVCCA against exact singular vectors, for known shared subspaces, and under transformations that preserve it."""

import importlib

import pytest
import torch

from analyze.measures.svcca import Svcca, svcca


def centered_directions(images: int, count: int) -> torch.Tensor:
    """Return orthonormal columns [images, count] that sum to 0."""
    columns = torch.randn(images, count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return torch.linalg.qr(columns - columns.mean(dim=0)).Q


def as_images(pixels: torch.Tensor) -> torch.Tensor:
    """View pixels [N, D] as images [N, D, 1, 1]."""
    return pixels.reshape(*pixels.shape, 1, 1)


def test_matches_an_exact_decomposition_of_the_authors_preprocessing(golden):
    """The authors' randomized decomposition gives 0.755 instead."""
    assert svcca(golden["samples"], golden["samples_other"]).mean == pytest.approx(0.9965031144304948, rel=1e-6)


def test_matches_the_singular_vectors_of_the_pixels(random_images):
    samples, last = random_images(60), random_images(60)
    sides = []
    for images in (samples, last):
        pixels = images.flatten(1).double()
        standardized = (pixels - pixels.mean(dim=0)) / pixels.std(dim=0)
        sides.append(torch.linalg.svd(standardized, full_matrices=False).U[:, :10])
    expected = torch.linalg.svdvals(sides[0].T @ sides[1]).mean().item()
    assert 0.1 < expected < 0.9
    assert svcca(samples, last).mean == pytest.approx(expected, rel=1e-9)


def test_more_images_than_pixels_match_the_singular_vectors_too(random_images):
    """The directions then come from the Gram matrix of the pixels, which is the smaller one."""
    sides, sets = [], [random_images(300), random_images(300)]
    for images in sets:
        pixels = images.flatten(1).double()
        sides.append(torch.linalg.svd((pixels - pixels.mean(dim=0)) / pixels.std(dim=0), full_matrices=False).U[:, :10])
    expected = torch.linalg.svdvals(sides[0].T @ sides[1]).mean().item()
    assert svcca(*sets).mean == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shared", [0, 3, 10])
def test_svcca_is_the_fraction_of_shared_directions(shared):
    """Each set has ten uncorrelated pixels, `shared` of which are the same in both sets."""
    pixels = centered_directions(40, 20)
    first, second = as_images(pixels[:, :10]), as_images(pixels[:, 10 - shared : 20 - shared])
    assert svcca(first, second).mean == pytest.approx(shared / 10, abs=1e-6)


def test_fewer_than_ten_directions(random_images):
    """First, two directions against ten that include one of them; then sets with the maximum number of directions."""
    pixels = centered_directions(40, 20)
    assert svcca(as_images(pixels[:, 9:11]), as_images(pixels[:, :10])).mean == pytest.approx(0.5, abs=1e-6)
    assert svcca(random_images(11), random_images(11)).mean == pytest.approx(1, abs=1e-9)
    assert svcca(random_images(2), random_images(2)).mean == pytest.approx(1, abs=1e-9)
    assert svcca(random_images(1), random_images(1)) == Svcca(0)


def test_scale_sign_and_offset_of_pixels_preserve_svcca(random_images):
    samples, scale = random_images(30), 2.0 ** torch.arange(192).remainder(7).reshape(3, 8, 8)
    signs = torch.where(torch.arange(192).reshape(3, 8, 8) % 3 == 0, -1, 1)
    for other in (samples, samples * scale * signs, samples + 4096, samples.flip(3), torch.cat([samples, samples], 3)):
        assert svcca(samples, other).mean == pytest.approx(1, abs=1e-9)


def test_constant_pixels_and_the_order_of_images_do_not_matter(random_images):
    samples, last = random_images(30), random_images(30)
    result, order = svcca(samples, last).mean, torch.randperm(30, generator=torch.Generator().manual_seed(0))
    framed = torch.nn.functional.pad(samples, (1, 1, 1, 1), value=1 / 3)
    assert 0.1 < result < 0.9
    assert svcca(framed, last).mean == pytest.approx(result, rel=1e-9)
    assert svcca(samples[order], last[order]).mean == pytest.approx(result, rel=1e-9)
    assert svcca(last, samples).mean == pytest.approx(result, rel=1e-9)


def test_block_size_does_not_change_the_result(random_images, monkeypatch):
    samples, last = random_images(30), random_images(30)
    result = svcca(samples, last).mean
    monkeypatch.setattr(importlib.import_module("analyze.measures.svcca"), "PIXELS_AT_ONCE", 7)
    assert svcca(samples, last).mean == pytest.approx(result, rel=1e-9)


def test_a_constant_set_has_svcca_0(random_images):
    constant = (random_images(1) / 10).expand(30, -1, -1, -1)
    assert (
        svcca(constant, random_images(30))
        == svcca(random_images(30), constant)
        == svcca(constant, constant)
        == Svcca(0)
    )
