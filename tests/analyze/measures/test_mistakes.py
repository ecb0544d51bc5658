"""Mapping mistakes counted by hand and against `noise_mapping`."""

import pytest
import torch

from analyze.measures.mistakes import mapping_mistakes
from analyze.measures.noise_mapping import noise_mapping


def test_matches_the_authors_counts(golden):
    result = mapping_mistakes(golden["noise"], golden["samples"])
    for mistakes, accuracy in (
        (result.image_to_noise, "closest_noise_to_sample_acc"),
        (result.noise_to_image, "closest_sample_to_noise_acc"),
    ):
        assert 1 - len(mistakes.wrong) / 192 == pytest.approx(golden.value(accuracy))


def test_each_mistake_is_nearer_than_its_own_counterpart(random_images):
    noise, samples = random_images(40), random_images(40)
    result = mapping_mistakes(noise, samples)
    accuracies = noise_mapping(noise, samples, mapping_images=1000)
    for mistakes, sources, targets, accuracy in (
        (result.image_to_noise, samples, noise, accuracies.image_to_noise),
        (result.noise_to_image, noise, samples, accuracies.noise_to_image),
    ):
        wrong, nearest = mistakes.wrong, mistakes.nearest
        assert len(wrong) == len(nearest) == round(40 * (1 - accuracy)) > 0
        assert (wrong != nearest).all() and wrong.tolist() == sorted(wrong.tolist())
        to_own, to_nearest = (sources[wrong] - targets[indices] for indices in (wrong, nearest))
        assert (to_nearest.flatten(1).norm(dim=1) < to_own.flatten(1).norm(dim=1)).all()


def test_mistakes_and_attractors_counted_by_hand(pixel_images):
    """Images 1, 2, 9 are nearest to noises 0, 0, 8; noises 0, 5, 8 are nearest to images 1, 2, 9."""
    result = mapping_mistakes(pixel_images(0, 5, 8), pixel_images(1, 2, 9))
    assert (result.image_to_noise.wrong.tolist(), result.image_to_noise.nearest.tolist()) == ([1], [0])
    assert (result.noise_to_image.wrong.tolist(), result.noise_to_image.nearest.tolist()) == ([], [])
    assert (result.attracting_noises.indices.tolist(), result.attracting_noises.counts.tolist()) == ([0, 2], [2, 1])
    assert (result.attracting_images.indices.tolist(), result.attracting_images.counts.tolist()) == (
        [0, 1, 2],
        [1, 1, 1],
    )


def test_an_image_in_the_center_attracts_all_noises(random_images):
    noise = random_images(20)
    samples = torch.where(torch.arange(20).reshape(-1, 1, 1, 1) == 7, 0.0, 100 * noise)
    result = mapping_mistakes(noise, samples)
    assert (result.attracting_images.indices.tolist(), result.attracting_images.counts.tolist()) == ([7], [20])
    assert result.noise_to_image.wrong.tolist() == [i for i in range(20) if i != 7]
    assert result.images_by_variance[0] == 7


def test_the_first_of_equal_images_attracts_all(random_images):
    """Constant images all have variance 0, so their order does not change."""
    result = mapping_mistakes(random_images(30), torch.full((30, 3, 8, 8), 0.1))
    assert (result.attracting_images.indices.tolist(), result.attracting_images.counts.tolist()) == ([0], [30])
    assert len(result.attracting_noises.indices) == 1
    assert result.images_by_variance.tolist() == list(range(30))


def test_images_are_ordered_by_variance(random_images):
    samples = random_images(1) * torch.tensor([3.0, -1.0, 2.0, 0.0]).reshape(-1, 1, 1, 1) + 5
    assert mapping_mistakes(samples, samples).images_by_variance.tolist() == [3, 1, 2, 0]
