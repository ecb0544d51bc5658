"""Similarity of two models' images: closed forms, and the reference formula of the RP score."""

import math

import numpy as np
import pytest
import torch

from analyze.measures.reproducibility import ALIKE_ABOVE, pixel_reproducibility, reproducibility


def test_equal_images_are_all_alike(random_images):
    images = random_images(20)
    result = pixel_reproducibility(images, images)
    assert result.score == 1 and result.cosine == pytest.approx(1, abs=1e-12)
    assert result.unrelated_score == 0 and abs(result.unrelated_cosine) < 0.05


def test_brightness_and_contrast_do_not_matter(random_images):
    first, second = random_images(10), random_images(10)
    changed = pixel_reproducibility(first, 0.25 * second + 0.5)
    assert vars(changed) == pytest.approx(vars(pixel_reproducibility(first, second)), abs=1e-12)


def test_agrees_with_numpy(random_images):
    first = random_images(30)
    second = first + torch.linspace(0, 3, 30)[:, None, None, None] * random_images(30)
    matrix = np.corrcoef(first.flatten(1), second.flatten(1))[:30, 30:]
    own, others = matrix.diagonal(), matrix[~np.eye(30, dtype=bool)]
    result = pixel_reproducibility(first, second)
    assert result.score == np.mean(own > 0.6) and 0.2 < result.score < 0.8
    expected = (own.mean(), np.mean(others > 0.6), others.mean())
    assert (result.cosine, result.unrelated_score, result.unrelated_cosine) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("cosine", "score"), [(ALIKE_ABOVE - 1e-9, 0), (ALIKE_ABOVE + 1e-9, 1)])
def test_threshold(cosine, score):
    """Two images at a known angle: each has mean 0."""
    a, b = torch.tensor([1.0, -1, 0, 0], dtype=torch.float64), torch.tensor([0.0, 0, 1, -1], dtype=torch.float64)
    second = cosine * a + math.sqrt(1 - cosine**2) * b
    result = pixel_reproducibility(a.reshape(1, 1, 2, 2), second.reshape(1, 1, 2, 2))
    assert result.cosine == pytest.approx(cosine, abs=1e-12) and result.score == score


def test_image_without_contrast_is_like_no_other(random_images):
    flat = torch.full((5, 3, 8, 8), 0.5)
    assert pixel_reproducibility(flat, flat).cosine == pixel_reproducibility(flat, random_images(5)).cosine == 0


def test_descriptors_are_compared_by_their_angle():
    """As in the code of Zhang et al.: scalar products of unit descriptors, and the fraction above the threshold."""
    first, second = torch.randn(2, 12, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    second += first
    a, b = (descriptors / descriptors.norm(dim=1, keepdim=True) for descriptors in (first, second))
    similarity = (a * b).sum(dim=1)
    result = reproducibility(3 * first, second)
    assert result.score == (similarity > 0.6).double().mean() and 0 < result.score < 1
    assert result.cosine == pytest.approx(similarity.mean().item(), abs=1e-12)
