"""SSIM against torchmetrics' value, and where it can be told from its formula."""

import pytest
import torch

from analyze.measures.ssim import IMAGES_AT_ONCE, ssim


def test_as_torchmetrics_computes_it(golden):
    assert ssim(golden["samples"], golden["samples_other"]).mean == pytest.approx(0.92894, abs=5e-6)


def test_an_image_is_like_itself(drawn):
    samples = drawn(5).clamp(-1, 1)
    assert ssim(samples, samples).mean == pytest.approx(1, abs=1e-12)
    assert ssim(torch.zeros(5, 1, 8, 8), torch.zeros(5, 1, 8, 8)).mean == pytest.approx(1, abs=1e-12)


def test_flat_images_differ_in_their_brightness_only():
    """(2ab + C) / (a² + b² + C) of the brightnesses a and b in [0, 1], with C = 0.01²."""
    dark, bright = torch.full((3, 1, 8, 8), -0.5), torch.full((3, 1, 8, 8), 0.5)
    assert ssim(dark, bright).mean == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), abs=1e-9)


def test_a_negative_is_unlike_its_image(drawn):
    samples = drawn(5).clamp(-1, 1)
    assert ssim(samples, -samples).mean < -0.5


def test_the_mean_is_over_all_images(drawn):
    """Also where they are more than are taken at once, and do not fill the last turn."""
    n = IMAGES_AT_ONCE + 3
    samples, last = drawn(n).clamp(-1, 1), drawn(n).clamp(-1, 1)
    single = [ssim(samples[i : i + 1], last[i : i + 1]).mean for i in (*range(5), *range(n - 5, n))]
    few = ssim(torch.cat([samples[:5], samples[-5:]]), torch.cat([last[:5], last[-5:]])).mean
    assert few == pytest.approx(sum(single) / 10, abs=1e-12)
    parts = ssim(samples[:-5], last[:-5]).mean * (n - 5) + ssim(samples[-5:], last[-5:]).mean * 5
    assert ssim(samples, last).mean == pytest.approx(parts / n, abs=1e-12)
