"""What is computed once of the last checkpoint's images, and that it is never taken for another's."""

import torch

from analyze.measures.cache import kept


def test_it_is_computed_once_for_the_same_values():
    """Wherever they lie: each checkpoint reads the last one's images from their file."""
    asked = []
    total = kept(lambda tensor, factor: asked.append(factor) or factor * tensor.sum().item())
    assert [total(torch.ones(3, 2), 2.0) for _ in range(3)] == [12.0] * 3
    assert asked == [2.0]


def test_other_values_shapes_and_arguments_are_computed_anew():
    total = kept(lambda tensor, factor: (tuple(tensor.shape), factor * tensor.sum().item()))
    ones = torch.ones(4, 2)
    assert total(ones, 1.0) == ((4, 2), 8.0)
    assert total(ones[:2], 1.0) == ((2, 2), 4.0)
    assert total(2 * ones, 1.0) == ((4, 2), 16.0)
    assert total(2 * ones, 3.0) == ((4, 2), 48.0)
    assert total(2 * ones.half(), 3.0) == ((4, 2), 48.0)
