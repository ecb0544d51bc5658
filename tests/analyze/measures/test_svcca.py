"""SVCCA against exact singular vectors, subspaces that share a known part, and what must leave it alone."""

import importlib

import pytest
import torch

from analyze.measures.svcca import Svcca, svcca


def courses(images: int, count: int) -> torch.Tensor:
    """Orthonormal columns [images, count] that add up to 0."""
    drawn = torch.randn(images, count, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    return torch.linalg.qr(drawn - drawn.mean(dim=0)).Q


def as_images(pixels: torch.Tensor) -> torch.Tensor:
    return pixels.reshape(*pixels.shape, 1, 1)


def test_as_exact_singular_vectors_give_it(golden):
    """The authors' preprocessing with an exact decomposition; their randomised one gives 0.755."""
    assert svcca(golden["samples"], golden["samples_other"]).mean == pytest.approx(0.9965031144304948, rel=1e-6)


def test_as_singular_vectors_of_the_pixels_give_it(drawn):
    samples, last = drawn(60), drawn(60)
    sides = []
    for images in (samples, last):
        pixels = images.flatten(1).double()
        standardised = (pixels - pixels.mean(dim=0)) / pixels.std(dim=0)
        sides.append(torch.linalg.svd(standardised, full_matrices=False).U[:, :10])
    expected = torch.linalg.svdvals(sides[0].T @ sides[1]).mean().item()
    assert 0.1 < expected < 0.9
    assert svcca(samples, last).mean == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("shared", [0, 3, 10])
def test_the_share_of_directions_that_two_sets_have_in_common(shared):
    """Ten uncorrelated pixels each, `shared` of them the same in both sets."""
    pixels = courses(40, 20)
    first, second = as_images(pixels[:, :10]), as_images(pixels[:, 10 - shared : 20 - shared])
    assert svcca(first, second).mean == pytest.approx(shared / 10, abs=1e-6)


def test_fewer_directions_than_ten(drawn):
    """A set of two directions in one of ten that holds one of them; and sets of as many directions as there can be."""
    pixels = courses(40, 20)
    assert svcca(as_images(pixels[:, 9:11]), as_images(pixels[:, :10])).mean == pytest.approx(0.5, abs=1e-6)
    assert svcca(drawn(11), drawn(11)).mean == pytest.approx(1, abs=1e-9)
    assert svcca(drawn(2), drawn(2)).mean == pytest.approx(1, abs=1e-9)
    assert svcca(drawn(1), drawn(1)) == Svcca(0)


def test_a_set_is_like_itself_whatever_its_pixels_scale_and_offset(drawn):
    samples, scale = drawn(30), 2.0 ** torch.arange(192).remainder(7).reshape(3, 8, 8)
    signs = torch.where(torch.arange(192).reshape(3, 8, 8) % 3 == 0, -1, 1)
    for other in (samples, samples * scale * signs, samples + 4096, samples.flip(3), torch.cat([samples, samples], 3)):
        assert svcca(samples, other).mean == pytest.approx(1, abs=1e-9)


def test_constant_pixels_and_the_order_of_images_change_nothing(drawn):
    samples, last = drawn(30), drawn(30)
    found, order = svcca(samples, last).mean, torch.randperm(30, generator=torch.Generator().manual_seed(0))
    framed = torch.nn.functional.pad(samples, (1, 1, 1, 1), value=1 / 3)
    assert 0.1 < found < 0.9
    assert svcca(framed, last).mean == pytest.approx(found, rel=1e-9)
    assert svcca(samples[order], last[order]).mean == pytest.approx(found, rel=1e-9)
    assert svcca(last, samples).mean == pytest.approx(found, rel=1e-9)


def test_the_size_of_blocks_changes_nothing(drawn, monkeypatch):
    samples, last = drawn(30), drawn(30)
    found = svcca(samples, last).mean
    monkeypatch.setattr(importlib.import_module("analyze.measures.svcca"), "PIXELS_AT_ONCE", 7)
    assert svcca(samples, last).mean == pytest.approx(found, rel=1e-9)


def test_a_constant_set_is_like_nothing(drawn):
    one = (drawn(1) / 10).expand(30, -1, -1, -1)
    assert svcca(one, drawn(30)) == svcca(drawn(30), one) == svcca(one, one) == Svcca(0)
