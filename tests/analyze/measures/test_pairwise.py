"""Distances of two sets of images, computed in blocks of rows."""

import pytest
import torch

from analyze.measures import pairwise
from analyze.measures.pairwise import nearest_of_each, squared_distances


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_nearest_do_not_depend_on_the_blocks(block, random_images, monkeypatch):
    a, b = random_images(60), random_images(40)
    monkeypatch.setattr(pairwise, "BLOCK", block)
    nearest_b, nearest_a = nearest_of_each(a, b)
    distances = squared_distances(a, b)
    assert torch.equal(nearest_b, distances.argmin(dim=1)) and torch.equal(nearest_a, distances.argmin(dim=0))


def test_the_lower_index_wins_a_tie_between_blocks(pixel_images, monkeypatch):
    monkeypatch.setattr(pairwise, "BLOCK", 2)
    nearest_b, nearest_a = nearest_of_each(pixel_images(5, 1, 1, 5), pixel_images(1, 5))
    assert nearest_b.tolist() == [1, 0, 0, 1] and nearest_a.tolist() == [1, 0]
