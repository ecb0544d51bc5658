"""Which noise is nearest to an image and which image to a noise, counted in chunks."""

import pytest
import torch

from analyze.measures.noise_mapping import NoiseMapping, noise_mapping

ALL = 1000


def test_as_the_authors_count(golden):
    found = noise_mapping(golden["noise"], golden["samples"], mapping_images=ALL)
    assert found.image_to_noise == pytest.approx(golden.value("closest_noise_to_sample_acc"))
    assert found.noise_to_image == pytest.approx(golden.value("closest_sample_to_noise_acc"))


def test_images_that_are_their_noise_are_all_found(drawn):
    noise = drawn(20)
    assert noise_mapping(noise, noise, mapping_images=ALL) == NoiseMapping(1, 1, 0, 0)


def test_images_that_are_the_next_noise_are_never_found(drawn):
    noise = drawn(20)
    assert noise_mapping(noise, noise.roll(1, dims=0), mapping_images=ALL) == NoiseMapping(0, 0, 0, 0)


def test_the_two_directions_are_told_apart(line):
    """Both images are nearest to noise 0; the noises 0 and 5 are each nearest to their own image."""
    found = noise_mapping(line(0, 5), line(1, 2), mapping_images=ALL)
    assert (found.image_to_noise, found.noise_to_image) == (0.5, 1.0)


def test_each_chunk_is_matched_within_itself(drawn):
    """The second chunk's images are its own noises in another order; one image alone has only itself."""
    noise = drawn(8)
    samples = torch.cat([noise[:4], noise[4:].roll(1, dims=0)])
    found = noise_mapping(noise, samples, mapping_images=4)
    assert found == NoiseMapping(0.5, 0.5, pytest.approx(0.5**0.5), pytest.approx(0.5**0.5))
    across = torch.cat([noise[4:], noise[:4]])  # every image is a noise of the other chunk
    assert noise_mapping(across, noise, mapping_images=1) == NoiseMapping(1, 1, 0, 0)


def test_what_is_left_over_does_not_count(drawn):
    noise = drawn(10)
    samples = torch.cat([noise[:8], noise[8:].flip(0)])
    assert noise_mapping(noise, samples, mapping_images=4) == NoiseMapping(1, 1, 0, 0)
    assert noise_mapping(noise, samples, mapping_images=10).image_to_noise == 0.8


def test_of_equal_images_only_one_is_found(drawn):
    """All noises are nearest to the first image, and all images to the same noise."""
    noise, samples = drawn(70), drawn(1).expand(70, -1, -1, -1)
    assert noise_mapping(noise, samples, mapping_images=ALL) == NoiseMapping(1 / 70, 1 / 70, 0, 0)


def test_a_large_common_offset_changes_nothing(drawn):
    noise = drawn(60)
    samples = noise + noise.roll(1, dims=0) + drawn(60) / 4
    samples = (samples * 64).round() / 64
    found = noise_mapping(noise, samples, mapping_images=ALL)
    assert 0.1 < found.image_to_noise < 0.9
    assert noise_mapping(noise + 4096, samples + 4096, mapping_images=ALL) == found
