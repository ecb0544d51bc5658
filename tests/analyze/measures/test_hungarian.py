"""Accuracy of the one-to-one matching of noise and image, within chunks."""

import pytest
import torch

from analyze.measures.hungarian import Hungarian, hungarian
from analyze.measures.noise_mapping import noise_mapping


def test_images_equal_to_their_noise_are_all_matched(random_images):
    noise = random_images(20)
    assert hungarian(noise, noise, mapping_images=1000) == Hungarian(1, 0)


def test_images_equal_to_the_next_noise_are_never_matched(random_images):
    noise = random_images(20)
    assert hungarian(noise, noise.roll(1, dims=0), mapping_images=1000) == Hungarian(0, 0)


def test_a_noise_is_used_once(pixel_images):
    """Noise 0 is nearest to all images, but only one image can have it."""
    noise, samples = pixel_images(0, 10, 20), pixel_images(0, 1, 2)
    assert noise_mapping(noise, samples, mapping_images=3).image_to_noise == pytest.approx(1 / 3)
    assert hungarian(noise, samples, mapping_images=3).accuracy == 1


def test_candidates_come_from_the_same_chunk(random_images):
    """The images of the second chunk are its noises, permuted; the remainder of two images is dropped."""
    noise = random_images(10)
    samples = torch.cat([noise[:4], noise[4:8].roll(1, dims=0), noise[8:]])
    assert hungarian(noise, samples, mapping_images=4) == Hungarian(0.5, pytest.approx(0.5**0.5))
    assert hungarian(noise, samples, mapping_images=10).accuracy == 0.6
