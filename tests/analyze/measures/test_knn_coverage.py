"""Overlap of nearest neighbors of two sets of images, among images and from noise to image."""

import sys

import pytest

from analyze.measures.knn_coverage import KnnCoverage, knn_coverage


def test_matches_the_authors_values(golden):
    k = int(golden.value("knn_image_k"))
    result = knn_coverage(golden["noise"], golden["samples"], golden["samples_other"], knn_k=k)
    assert result.image == pytest.approx(golden.value("knn_image_coverage"))
    assert result.noise == pytest.approx(golden.value("knn_noise_to_image_coverage"))


@pytest.mark.parametrize("k", [1, 7, 19])
def test_equal_sets_share_all_neighbors(k, random_images):
    noise, samples = random_images(20), random_images(20)
    assert knn_coverage(noise, samples, samples, knn_k=k) == KnnCoverage(1, 1)


def test_coverage_counted_by_hand(pixel_images):
    """An image is not its own neighbor, but an image equal to a noise is that noise's neighbor."""
    samples, last = pixel_images(0, 1, 10, 11), pixel_images(0, 10, 1, 11)
    assert knn_coverage(samples, samples, last, knn_k=1) == KnnCoverage(image=0.0, noise=0.5)
    assert knn_coverage(samples, samples, last, knn_k=2) == KnnCoverage(image=0.75, noise=0.5)


def test_the_lower_index_wins_a_tie(pixel_images):
    """The equal images have neighbors 12, 02, 01, 01, 01; the images in a row have 12, 02, 13, 24, 32."""
    result = knn_coverage(
        pixel_images(0, 0, 0, 0, 0), pixel_images(3, 3, 3, 3, 3), pixel_images(0, 1, 2, 3, 4), knn_k=2
    )
    assert result == KnnCoverage(image=0.5, noise=1.0)


def test_two_sets_of_equal_images_share_all_neighbors(random_images):
    """The order of ties does not depend on the pixels."""
    equal, other_equal = random_images(1).expand(70, -1, -1, -1), random_images(1).expand(70, -1, -1, -1)
    assert knn_coverage(random_images(70), equal, other_equal, knn_k=5) == KnnCoverage(1, 1)


def test_a_large_common_offset_preserves_the_result(random_images):
    noise, samples, last = random_images(60), random_images(60), random_images(60)
    result = knn_coverage(noise, samples, last, knn_k=5)
    assert 0 < result.image < 0.5
    assert knn_coverage(noise + 4096, samples + 4096, last + 4096, knn_k=5) == result


def test_the_result_does_not_depend_on_the_blocks(random_images, monkeypatch):
    noise, samples, last = random_images(60), random_images(60), random_images(60)
    whole = knn_coverage(noise, samples, last, knn_k=5)
    monkeypatch.setattr(sys.modules[knn_coverage.__module__], "BLOCK", 7)
    assert knn_coverage(noise, samples, last, knn_k=5) == whole
