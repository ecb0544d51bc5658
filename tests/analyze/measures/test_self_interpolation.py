"""Distances of images between noise and latent, counted by hand and found by brute force."""

import importlib

import pytest
import torch

from analyze.analysis import SeedAnalysis
from analyze.generate import SELF_INTERPOLATION
from analyze.generations import NO_IMAGES
from analyze.measures.self_interpolation import interpolation_distances, self_interpolation


def test_distances_from_the_first_image_counted_by_hand(random_images):
    """Image i is moved by (1 + i)·λ in four of its values, so its distance is 2·(1 + i)·λ."""
    start, offset = random_images(3), torch.zeros(3, 3, 8, 8)
    offset[:, 0, 0, :4] = 1 + torch.arange(3.0)[:, None]
    images = torch.stack([start + λ * offset for λ in SELF_INTERPOLATION])
    result = interpolation_distances(images, NO_IMAGES)
    assert result.lambdas == SELF_INTERPOLATION
    assert result.to_start == pytest.approx([4 * λ for λ in SELF_INTERPOLATION], abs=1e-6)
    assert (result.middle, result.end) == pytest.approx((2, 4))


def test_distance_from_the_nearest_training_image(random_images, monkeypatch):
    module = importlib.import_module("analyze.measures.self_interpolation")  # the package's attribute is the function
    monkeypatch.setattr(module, "IMAGES_AT_ONCE", 4)
    images = torch.stack([random_images(5) for _ in SELF_INTERPOLATION])
    training = torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    result = interpolation_distances(images, training)
    data = (training.double() / 127.5 - 1).flatten(1)
    expected = [torch.cdist(points.double().flatten(1), data).amin(dim=1).mean().item() for points in images]
    assert result.to_data == pytest.approx(expected, rel=1e-6)
    assert (result.data_start, result.data_middle, result.data_end) == tuple(result.to_data[i] for i in (0, 3, 6))


def test_training_images_have_distance_0():
    training = torch.randint(0, 256, (10, 3, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    images = (training[[7, 2]].float() / 127.5 - 1).expand(len(SELF_INTERPOLATION), -1, -1, -1, -1)
    assert interpolation_distances(images, training).to_data == pytest.approx([0] * 7, abs=1e-4)


def test_without_training_images_there_is_no_distance_to_the_data(random_images):
    result = interpolation_distances(random_images(7)[:, None], NO_IMAGES)
    assert result.to_data == () and result.data_start is result.data_middle is result.data_end is None


def test_ends_are_the_images_of_noise_and_latent(analyzed):
    generations = SeedAnalysis(analyzed(), 0).generations(8)
    images, n = generations["self_interpolations"], generations["self_interpolations"].shape[1]
    torch.testing.assert_close(images[0], generations["samples"][:n])
    torch.testing.assert_close(images[-1], generations["reconstructions"][:n])
    result = self_interpolation(generations)
    error = (generations["reconstructions"] - generations["samples"])[:n].double().flatten(1).norm(dim=1)
    assert result.end == pytest.approx(error.mean().item(), rel=1e-4) and result.end > 0
