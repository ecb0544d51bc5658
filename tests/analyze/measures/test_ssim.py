"""SSIM against scikit-image's value, against the formula in each window, and for images with a known value."""

import pytest
import torch
from torch import Tensor

from analyze.measures.ssim import IMAGES_AT_ONCE, ssim
from analyze.measures.unavailable import Unavailable


def ssim_by_window(x: Tensor, y: Tensor) -> float:
    """Return the mean of Wang et al. (2004), equation 13, over all 7×7 windows of images [N, C, H, W]."""
    windows = [((images.double() + 1) / 2).unfold(2, 7, 1).unfold(3, 7, 1).reshape(-1, 49) for images in (x, y)]
    values = []
    for a, b in zip(*windows, strict=True):
        (var_a, cov), (_, var_b) = torch.cov(torch.stack([a, b])).tolist()
        mean_a, mean_b = a.mean().item(), b.mean().item()
        luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
        values.append(luminance * (2 * cov + 0.03**2) / (var_a + var_b + 0.03**2))
    return sum(values) / len(values)


def test_matches_the_authors_value(golden):
    """Their value comes from scikit-image in float32."""
    assert ssim(golden["samples"], golden["samples_other"]).mean == pytest.approx(0.9410831585438508, abs=5e-8)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 7), (9, 7)])
def test_matches_the_formula_in_each_window(height, width, random_images):
    samples, noise = (random_images(4).repeat(1, 1, 2, 1)[:, :, :height, :width].clamp(-1, 1) for _ in range(2))
    last = 0.8 * samples + 0.2 * noise
    assert 0.5 < ssim(samples, last).mean < 0.99
    assert ssim(samples, last).mean == pytest.approx(ssim_by_window(samples, last), abs=1e-12)


def test_images_smaller_than_a_window_are_unavailable():
    with pytest.raises(Unavailable, match="at least 7×7 pixels; these have 8×6"):
        ssim(torch.zeros(2, 3, 8, 6), torch.zeros(2, 3, 8, 6))


def test_an_image_has_ssim_1_with_itself(random_images):
    samples = random_images(5).clamp(-1, 1)
    assert ssim(samples, samples).mean == pytest.approx(1, abs=1e-12)
    assert ssim(torch.zeros(5, 1, 8, 8), torch.zeros(5, 1, 8, 8)).mean == pytest.approx(1, abs=1e-12)


def test_constant_images_differ_only_in_brightness():
    """(2ab + C) / (a² + b² + C) for brightness a and b in [0, 1], with C = 0.01²."""
    dark, bright = torch.full((3, 1, 8, 8), -0.5), torch.full((3, 1, 8, 8), 0.5)
    assert ssim(dark, bright).mean == pytest.approx((2 * 0.25 * 0.75 + 1e-4) / (0.25**2 + 0.75**2 + 1e-4), abs=1e-9)


def test_a_negative_has_negative_ssim(random_images):
    samples = random_images(5).clamp(-1, 1)
    assert ssim(samples, -samples).mean < -0.5


def test_the_mean_covers_every_batch(random_images):
    """The number of images is not a multiple of the batch size."""
    n = IMAGES_AT_ONCE + 3
    samples, last = random_images(n).clamp(-1, 1), random_images(n).clamp(-1, 1)
    single = [ssim(samples[i : i + 1], last[i : i + 1]).mean for i in (*range(5), *range(n - 5, n))]
    few = ssim(torch.cat([samples[:5], samples[-5:]]), torch.cat([last[:5], last[-5:]])).mean
    assert few == pytest.approx(sum(single) / 10, abs=1e-12)
    parts = ssim(samples[:-5], last[:-5]).mean * (n - 5) + ssim(samples[-5:], last[-5:]).mean * 5
    assert ssim(samples, last).mean == pytest.approx(parts / n, abs=1e-12)
