"""How many nearest neighbours two sets of images share, in both readings."""

import pytest

from analyze.measures.knn_coverage import KnnCoverage, knn_coverage


def test_as_the_authors_count(golden):
    k = int(golden.value("knn_image_k"))
    found = knn_coverage(golden["noise"], golden["samples"], golden["samples_other"], knn_k=k)
    assert found.image == pytest.approx(golden.value("knn_image_coverage"))
    assert found.noise == pytest.approx(golden.value("knn_noise_to_image_coverage"))


@pytest.mark.parametrize("k", [1, 7, 19])
def test_equal_sets_share_all(k, drawn):
    noise, samples = drawn(20), drawn(20)
    assert knn_coverage(noise, samples, samples, knn_k=k) == KnnCoverage(1, 1)


def test_shares_counted_by_hand(line):
    """An image is not its own neighbour; an image that lies on a noise is that noise's."""
    samples, last = line(0, 1, 10, 11), line(0, 10, 1, 11)
    assert knn_coverage(samples, samples, last, knn_k=1) == KnnCoverage(image=0.0, noise=0.5)
    assert knn_coverage(samples, samples, last, knn_k=2) == KnnCoverage(image=0.75, noise=0.5)


def test_of_equal_distances_the_first_count(line):
    """Neighbours 12, 02, 01, 01, 01 of the equal images, 12, 02, 13, 24, 32 of those in a row."""
    found = knn_coverage(line(0, 0, 0, 0, 0), line(3, 3, 3, 3, 3), line(0, 1, 2, 3, 4), knn_k=2)
    assert found == KnnCoverage(image=0.5, noise=1.0)


def test_two_sets_of_equal_images_share_all(drawn):
    """Ties are decided the same way whatever the pixels are."""
    same, same_too = drawn(1).expand(70, -1, -1, -1), drawn(1).expand(70, -1, -1, -1)
    assert knn_coverage(drawn(70), same, same_too, knn_k=5) == KnnCoverage(1, 1)


def test_a_large_common_offset_changes_nothing(drawn):
    noise, samples, last = drawn(60), drawn(60), drawn(60)
    found = knn_coverage(noise, samples, last, knn_k=5)
    assert 0 < found.image < 0.5
    assert knn_coverage(noise + 4096, samples + 4096, last + 4096, knn_k=5) == found
