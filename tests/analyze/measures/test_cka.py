"""CKA against the authors' values, its formula written out, and what must leave it alone."""

import pytest
import torch
from torch import Tensor

from analyze.measures.cka import Cka, cka


def debiased_by_the_formula(x: Tensor, y: Tensor) -> float:
    """Song et al. (2012), equation 5, term by term, on the Gram matrices of pixels in [0, 1], in float64."""

    def gram(images: Tensor) -> Tensor:
        flat = images.flatten(1).double()
        flat = (flat - flat.min()) / (flat.max() - flat.min())
        return (flat @ flat.T).fill_diagonal_(0)

    def hsic(k: Tensor, l: Tensor) -> Tensor:
        n, ones = len(k), torch.ones(len(k), dtype=torch.float64)
        all_pairs = (ones @ k @ ones) * (ones @ l @ ones) / ((n - 1) * (n - 2))
        return (torch.trace(k @ l) + all_pairs - 2 / (n - 2) * (ones @ k @ l @ ones)) / (n * (n - 3))

    k, l = gram(x), gram(y)
    return (hsic(k, l) / (hsic(k, k) * hsic(l, l)).sqrt()).item()


def test_as_the_authors_compute_it(golden):
    """The debiased value of their code is left with the rounding of float32, so their formula stands for it."""
    found = cka(golden["samples"], golden["samples_other"])
    assert found.biased == pytest.approx(golden.value("cka_linear_biased"), rel=1e-4)
    expected = debiased_by_the_formula(golden["samples"], golden["samples_other"])
    assert expected == pytest.approx(0.996057, abs=1e-6)
    assert found.debiased == pytest.approx(expected, rel=1e-9)


def test_a_set_is_aligned_with_itself_rotated_and_scaled(drawn):
    samples = drawn(30)
    rotation, _ = torch.linalg.qr(torch.randn(192, 192, generator=torch.Generator().manual_seed(1)))
    rotated = (samples.flatten(1) @ rotation).reshape(samples.shape)
    for other in (samples, 5 * samples, -samples, rotated, 0.1 * rotated):
        assert cka(samples, other) == Cka(pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_rotation_scale_and_offset_of_one_set_change_nothing(drawn):
    samples, last = drawn(30), drawn(30)
    found = cka(samples, last)
    assert 0.1 < found.biased < 0.95
    for other in (
        4 * samples,
        samples + 4096,
        samples.flip(3),
        samples.flatten(1).roll(5, dims=1).reshape(30, 3, 8, 8),
    ):
        changed = cka(other, last)
        assert changed == Cka(pytest.approx(found.biased, rel=1e-9), pytest.approx(found.debiased, rel=1e-6, abs=1e-9))


def test_the_two_sets_may_change_places(drawn):
    samples, last = drawn(30), drawn(30)
    assert cka(samples, last).biased == pytest.approx(cka(last, samples).biased, rel=1e-12)


def test_only_the_biased_value_grows_where_nothing_is_alike(drawn):
    """With more pixels than images every set looks like every other to the biased estimate."""
    found = cka(drawn(50), drawn(50))
    assert found.biased > 0.5 and abs(found.debiased) < 0.1


def test_a_constant_set_is_aligned_with_nothing(drawn):
    one = (drawn(1) / 10).expand(30, -1, -1, -1)
    assert cka(one, drawn(30)) == cka(drawn(30), one) == cka(one, one) == Cka(0, 0)
