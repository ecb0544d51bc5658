"""Accuracy of the nearest-neighbor mapping between noise and image, within chunks."""

import pytest
import torch

from analyze.measures.noise_mapping import NoiseMapping, noise_mapping

ALL = 1000


def test_matches_the_authors_values(golden):
    result = noise_mapping(golden["noise"], golden["samples"], mapping_images=ALL)
    assert result.image_to_noise == pytest.approx(golden.value("closest_noise_to_sample_acc"))
    assert result.noise_to_image == pytest.approx(golden.value("closest_sample_to_noise_acc"))


def test_images_equal_to_their_noise_are_all_matched(random_images):
    noise = random_images(20)
    assert noise_mapping(noise, noise, mapping_images=ALL) == NoiseMapping(1, 1, 0, 0)


def test_images_equal_to_the_next_noise_are_never_matched(random_images):
    noise = random_images(20)
    assert noise_mapping(noise, noise.roll(1, dims=0), mapping_images=ALL) == NoiseMapping(0, 0, 0, 0)


def test_the_two_directions_differ(pixel_images):
    """Both images are nearest to noise 0, but noises 0 and 5 are each nearest to their own image."""
    result = noise_mapping(pixel_images(0, 5), pixel_images(1, 2), mapping_images=ALL)
    assert (result.image_to_noise, result.noise_to_image) == (0.5, 1.0)


def test_candidates_come_from_the_same_chunk(random_images):
    """The images of the second chunk are its noises, permuted. A chunk of one image has a single candidate."""
    noise = random_images(8)
    samples = torch.cat([noise[:4], noise[4:].roll(1, dims=0)])
    result = noise_mapping(noise, samples, mapping_images=4)
    assert result == NoiseMapping(0.5, 0.5, pytest.approx(0.5**0.5), pytest.approx(0.5**0.5))
    across = torch.cat([noise[4:], noise[:4]])  # every image is a noise of the other chunk
    assert noise_mapping(across, noise, mapping_images=1) == NoiseMapping(1, 1, 0, 0)


def test_an_incomplete_chunk_is_dropped(random_images):
    noise = random_images(10)
    samples = torch.cat([noise[:8], noise[8:].flip(0)])
    assert noise_mapping(noise, samples, mapping_images=4) == NoiseMapping(1, 1, 0, 0)
    assert noise_mapping(noise, samples, mapping_images=10).image_to_noise == 0.8


def test_only_one_of_several_equal_images_is_matched(random_images):
    """All noises are nearest to the first image, and all images are nearest to the same noise."""
    noise, samples = random_images(70), random_images(1).expand(70, -1, -1, -1)
    assert noise_mapping(noise, samples, mapping_images=ALL) == NoiseMapping(1 / 70, 1 / 70, 0, 0)


def test_a_large_common_offset_preserves_the_result(random_images):
    noise = random_images(60)
    samples = noise + noise.roll(1, dims=0) + random_images(60) / 4
    samples = (samples * 64).round() / 64
    result = noise_mapping(noise, samples, mapping_images=ALL)
    assert 0.1 < result.image_to_noise < 0.9
    assert noise_mapping(noise + 4096, samples + 4096, mapping_images=ALL) == result
