"""CKA against the authors' values, against its formula written out, and under transformations that preserve it."""

import pytest
import torch
from torch import Tensor

from analyze.measures.cka import Cka, cka


def debiased_by_formula(x: Tensor, y: Tensor) -> float:
    """Evaluate Song et al. (2012), equation 5, term by term on Gram matrices of pixels in [0, 1], in float64."""

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


def test_matches_the_authors_values(golden):
    """Their debiased value is dominated by float32 rounding, so the expected value is their formula in float64."""
    result = cka(golden["samples"], golden["samples_other"])
    assert result.biased == pytest.approx(golden.value("cka_linear_biased"), rel=1e-4)
    expected = debiased_by_formula(golden["samples"], golden["samples_other"])
    assert expected == pytest.approx(0.996057, abs=1e-6)
    assert result.debiased == pytest.approx(expected, rel=1e-9)


def test_a_rotated_and_scaled_copy_has_cka_1(random_images):
    samples = random_images(30)
    rotation, _ = torch.linalg.qr(torch.randn(192, 192, generator=torch.Generator().manual_seed(1)))
    rotated = (samples.flatten(1) @ rotation).reshape(samples.shape)
    for other in (samples, 5 * samples, -samples, rotated, 0.1 * rotated):
        assert cka(samples, other) == Cka(pytest.approx(1, abs=1e-6), pytest.approx(1, abs=1e-6))


def test_rotation_scale_and_offset_of_one_set_preserve_cka(random_images):
    samples, last = random_images(30), random_images(30)
    result = cka(samples, last)
    assert 0.1 < result.biased < 0.95
    for other in (
        4 * samples,
        samples + 4096,
        samples.flip(3),
        samples.flatten(1).roll(5, dims=1).reshape(30, 3, 8, 8),
    ):
        changed = cka(other, last)
        assert changed == Cka(
            pytest.approx(result.biased, rel=1e-9), pytest.approx(result.debiased, rel=1e-6, abs=1e-9)
        )


def test_cka_is_symmetric(random_images):
    samples, last = random_images(30), random_images(30)
    assert cka(samples, last).biased == pytest.approx(cka(last, samples).biased, rel=1e-12)


def test_only_the_biased_value_is_large_for_independent_sets(random_images):
    """With more pixels than images, the biased estimate finds any two sets similar."""
    result = cka(random_images(50), random_images(50))
    assert result.biased > 0.5 and abs(result.debiased) < 0.1


def test_a_constant_set_has_cka_0(random_images):
    constant = (random_images(1) / 10).expand(30, -1, -1, -1)
    assert cka(constant, random_images(30)) == cka(random_images(30), constant) == cka(constant, constant) == Cka(0, 0)


def test_more_images_than_pixels_follow_the_formula(random_images):
    """The products of D × D matrices replace those of Gram matrices."""
    samples = random_images(250)[:, :, :4, :4]
    last = samples + random_images(250)[:, :, :4, :4]
    assert len(samples) > samples[0].numel()
    result = cka(samples, last)
    assert result.debiased == pytest.approx(debiased_by_formula(samples, last), rel=1e-9)
    x, y = (images.flatten(1).double() - images.flatten(1).double().mean(dim=0) for images in (samples, last))
    k, l = x @ x.T, y @ y.T
    assert result.biased == pytest.approx(((k * l).sum() / (k.norm() * l.norm())).item(), rel=1e-9)
