"""Plain areas against the authors' mask, and against values that are known in plain and in other pixels."""

import dataclasses
import math

import pytest
import torch

from analyze.measures.normality import kl_to_normal
from analyze.measures.plain_areas import PlainAreas, plain_areas, plain_mask
from diffusion.randomness import fixed_noise

THRESHOLD = 0.025


@pytest.fixture
def half_plain(random_images):
    """Return noise, images that are flat in the upper half and rough in the lower one, and their mask."""
    noise, samples = random_images(30), 100 * random_images(30)
    samples[:, :, :5] = 0.5
    samples[:, :, -1, -1] = samples[:, :, -1, -2] + 100
    mask = torch.zeros(30, 8, 8, dtype=torch.bool)
    mask[:, :4] = mask[:, 7, 7] = True
    return noise, samples, mask


def test_mask_matches_the_authors(golden):
    mask = plain_mask(golden["samples"], THRESHOLD)
    assert torch.equal(mask, golden["plain_mask"]) and int(mask.sum()) == 370
    result = plain_areas(golden["noise"], golden["samples"], golden["latents"], plain_threshold=THRESHOLD)
    assert result.share == pytest.approx(370 / mask.numel())


def test_mask_counted_by_hand():
    """The edge between columns 1 and 2, in one of two channels, makes the pixels of column 1 not plain."""
    samples = torch.zeros(1, 2, 3, 4)
    samples[:, 1, :, 2:] = 0.06
    expected = torch.ones(1, 3, 4, dtype=torch.bool)
    expected[:, :, 1] = False
    assert torch.equal(plain_mask(samples, 0.025), expected)
    assert plain_mask(samples, 0.031).all()


def test_constant_images_are_plain_and_checkerboards_are_not():
    assert plain_mask(torch.full((2, 3, 8, 8), 0.1), THRESHOLD).all()
    checkerboard = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    mask = plain_mask(checkerboard.expand(2, 3, 8, 8), THRESHOLD)
    assert mask[:, -1, -1].all() and mask.sum() == 2  # the last pixel has no neighbor to differ from


def test_error_and_std_of_known_latents(half_plain):
    """Plain pixels shrink to a quarter, others are shifted by 0.5."""
    noise, samples, mask = half_plain
    plain = mask[:, None].expand_as(noise)
    latents = torch.where(plain, noise / 4, noise + 0.5)
    result = plain_areas(noise, samples, latents, plain_threshold=THRESHOLD)
    assert result.share == 33 / 64
    assert result.error_other == 0.5
    assert result.error_plain == pytest.approx(0.75 * noise[plain].abs().mean().item())
    assert result.std_plain == pytest.approx(result.noise_std_plain / 4)
    assert result.std_other == pytest.approx(result.noise_std_other)
    assert result.noise_std_plain == pytest.approx(noise[plain].std(correction=0).item())


def test_plain_and_other_errors_add_up_to_the_total(golden):
    noise, samples, latents = golden["noise"], golden["samples"], golden["latents"]
    result = plain_areas(noise, samples, latents, plain_threshold=0.2)
    assert 0.1 < result.share < 0.9
    total = result.share * result.error_plain + (1 - result.share) * result.error_other
    assert total == pytest.approx((latents - noise).double().abs().mean().item(), rel=1e-7)


def test_exact_inversion_has_no_error_and_the_divergence_of_noise(half_plain):
    noise, samples, _ = half_plain
    result = plain_areas(noise, samples, noise, plain_threshold=THRESHOLD)
    assert result.error_plain == result.error_other == 0
    assert (result.std_plain, result.std_other) == (result.noise_std_plain, result.noise_std_other)
    assert result.kl == result.kl_floor == kl_to_normal(noise)


def test_shrunk_latents_diverge():
    noise = fixed_noise((3, 16, 16), 200, 0)
    result = plain_areas(noise, noise, noise / 2, plain_threshold=THRESHOLD)
    assert result.kl == pytest.approx(math.log(2) - 3 / 8, rel=0.01) and result.kl_floor < 0.001


def test_statistics_of_no_pixels_are_none(half_plain):
    noise, samples, _ = half_plain
    none_plain = plain_areas(noise, samples, noise, plain_threshold=0.0)
    all_plain = plain_areas(noise, 0 * samples, noise, plain_threshold=THRESHOLD)
    assert (none_plain.share, all_plain.share) == (0, 1)
    assert absent(none_plain) == {"error_plain", "std_plain", "noise_std_plain"}
    assert absent(all_plain) == {"error_other", "std_other", "noise_std_other"}


def absent(result: PlainAreas) -> set[str]:
    return {name for name, value in dataclasses.asdict(result).items() if value is None}
