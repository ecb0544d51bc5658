"""Images and noises taken for another's, counted by hand and against `noise_mapping`."""

import pytest
import torch

from analyze.measures.mistakes import mapping_mistakes, plain_pixels
from analyze.measures.noise_mapping import noise_mapping


def test_as_many_as_the_authors_count(golden):
    found = mapping_mistakes(golden["noise"], golden["samples"])
    for mistakes, right in (
        (found.image_to_noise, "closest_noise_to_sample_acc"),
        (found.noise_to_image, "closest_sample_to_noise_acc"),
    ):
        assert 1 - len(mistakes.wrong) / 192 == pytest.approx(golden.value(right))


def test_each_mistake_is_nearer_than_its_own(drawn):
    noise, samples = drawn(40), drawn(40)
    found = mapping_mistakes(noise, samples)
    shares = noise_mapping(noise, samples, mapping_images=1000)
    for mistakes, ones, others, share in (
        (found.image_to_noise, samples, noise, shares.image_to_noise),
        (found.noise_to_image, noise, samples, shares.noise_to_image),
    ):
        wrong, nearest = mistakes.wrong, mistakes.nearest
        assert len(wrong) == len(nearest) == round(40 * (1 - share)) > 0
        assert (wrong != nearest).all() and wrong.tolist() == sorted(wrong.tolist())
        own, taken = (ones[wrong] - others[wrong]).flatten(1), (ones[wrong] - others[nearest]).flatten(1)
        assert (taken.norm(dim=1) < own.norm(dim=1)).all()


def test_mistakes_and_attractors_counted_by_hand(line):
    """Images 1, 2, 9 go to the noises 0, 0, 8; noises 0, 5, 8 go to the images 1, 2, 9."""
    found = mapping_mistakes(line(0, 5, 8), line(1, 2, 9))
    assert (found.image_to_noise.wrong.tolist(), found.image_to_noise.nearest.tolist()) == ([1], [0])
    assert (found.noise_to_image.wrong.tolist(), found.noise_to_image.nearest.tolist()) == ([], [])
    assert (found.attracting_noises.indices.tolist(), found.attracting_noises.counts.tolist()) == ([0, 2], [2, 1])
    assert (found.attracting_images.indices.tolist(), found.attracting_images.counts.tolist()) == ([0, 1, 2], [1, 1, 1])


def test_one_image_in_the_middle_attracts_all_noises(drawn):
    noise = drawn(20)
    samples = torch.where(torch.arange(20).reshape(-1, 1, 1, 1) == 7, 0.0, 100 * noise)
    found = mapping_mistakes(noise, samples)
    assert (found.attracting_images.indices.tolist(), found.attracting_images.counts.tolist()) == ([7], [20])
    assert found.noise_to_image.wrong.tolist() == [i for i in range(20) if i != 7]
    assert found.images_by_variance[0] == 7


def test_of_equal_images_the_first_attracts_all(drawn):
    """Constant images have no variance, and stay in their order."""
    found = mapping_mistakes(drawn(30), torch.full((30, 3, 8, 8), 0.1))
    assert (found.attracting_images.indices.tolist(), found.attracting_images.counts.tolist()) == ([0], [30])
    assert len(found.attracting_noises.indices) == 1
    assert found.images_by_variance.tolist() == list(range(30))


def test_images_are_ordered_by_the_spread_of_their_pixels(drawn):
    samples = drawn(1) * torch.tensor([3.0, -1.0, 2.0, 0.0]).reshape(-1, 1, 1, 1) + 5
    assert mapping_mistakes(samples, samples).images_by_variance.tolist() == [3, 1, 2, 0]


def test_plain_pixels_as_the_authors_find_them(golden):
    found = plain_pixels(golden["samples"])
    assert found.share == pytest.approx(0.0075276694260537624, rel=1e-6)
    assert found.mask.shape == (192, 16, 16) and int(found.mask.sum()) == 370


def test_plain_pixels_by_hand():
    """The edge between columns 1 and 2 is seen from column 1; one channel with an edge is enough."""
    samples = torch.zeros(1, 2, 3, 4)
    samples[:, 1, :, 2:] = 0.06
    expected = torch.ones(3, 4, dtype=torch.bool)
    expected[:, 1] = False
    found = plain_pixels(samples)
    assert found.mask.tolist() == [expected.tolist()] and found.share == 0.75
    assert plain_pixels(samples, below=0.031).share == plain_pixels(torch.full((2, 3, 8, 8), 0.1)).share == 1


def test_only_the_last_pixel_of_noise_is_plain(drawn):
    assert plain_pixels(100 * drawn(20)).share == pytest.approx(1 / 64, abs=0.01)
