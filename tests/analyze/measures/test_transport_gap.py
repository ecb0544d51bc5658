"""The transport gap: closed forms, and its dependence on the number of images."""

import dataclasses
import importlib

import pytest
import torch

from analyze.measures.transport_gap import subset_sizes, transport_gap
from configs.schema import Diffusion
from diffusion.denoiser import Denoiser
from diffusion.schedule import Schedule
from diffusion.solvers.ddim import Ddim
from diffusion.solvers.solver import final_state

module = importlib.import_module("analyze.measures.transport_gap")  # in the package, this name is the function


def unit_vectors(count: int, length: float) -> torch.Tensor:
    """Return `count` orthogonal images [count, 1, 1, count] of a length."""
    return length * torch.eye(count)[:, None, None]


def test_permuted_orthogonal_pairs_have_a_known_gap():
    """Pairs a·e_i and b·e_i cost (a − b)², other pairs cost a² + b²."""
    noise, samples, n = unit_vectors(100, 2.0), unit_vectors(100, 1.0), 100
    own, other = 1.0, 5.0
    paired, permuted = transport_gap(noise, samples), transport_gap(noise, samples.roll(1, dims=0))
    assert paired.gap == 0 and permuted.gap == pytest.approx(other / own - 1, abs=1e-12)
    assert paired.random == pytest.approx((n - 1) / n * (other / own - 1), abs=1e-12)
    assert permuted.random == pytest.approx(paired.random, abs=1e-12)


def test_gap_is_reported_for_nested_subsets():
    """The first 64 images have their own noise; images 64 to 69 are permuted."""
    noise, samples = unit_vectors(70, 2.0), unit_vectors(70, 1.0)
    samples[64:] = samples[64:].roll(1, dims=0)
    result = transport_gap(noise, samples)
    expected = [(64, 0.0, pytest.approx(63 / 64 * 4)), (70, pytest.approx(4 * 6 / 70), pytest.approx(69 / 70 * 4))]
    assert result.by_images == expected and (result.gap, result.random) == result.by_images[-1][1:]


@pytest.mark.parametrize(
    ("images", "sizes"),
    [
        (8, [8]),
        (64, [64]),
        (65, [64, 65]),
        (1000, [64, 128, 256, 512, 1000]),
        (2048, [64, 128, 256, 512, 1024, 2048]),
        (50_000, [64, 128, 256, 512, 1024, 2048]),
    ],
)
def test_subset_sizes(images, sizes):
    assert subset_sizes(images) == sizes


def test_images_beyond_the_largest_subset_do_not_matter(monkeypatch, random_images):
    monkeypatch.setattr(module, "MAX_IMAGES", 20)
    noise, samples = random_images(30), random_images(30)
    expected = transport_gap(noise[:20], samples[:20])
    assert transport_gap(noise, samples) == expected and len(expected.by_images) == 1


def gaussian_denoiser(basis: torch.Tensor, variances: torch.Tensor) -> Denoiser:
    """Return the ideal denoiser ε(x, t) = σ (α² C + σ² I)⁻¹ x of data N(0, C), with C = Q diag(variances) Qᵀ."""
    levels = Schedule.from_config(Diffusion(steps=200)).levels

    def eps(x: torch.Tensor, t: torch.Tensor, y: torch.Tensor | None) -> torch.Tensor:
        alpha, sigma = dataclasses.astuple(levels[round(t.item())])
        return ((x.flatten(1) @ basis) * sigma / (alpha**2 * variances + sigma**2) @ basis.T).reshape(x.shape)

    return Denoiser(eps, levels, (1, 4, 4), 1.0, None, torch.device("cpu"))


def test_ddim_transports_gaussian_data_optimally():
    """Every step is a symmetric positive definite matrix with the eigenvectors of C, and so is their product.

    Khrulkov et al. (2023), section 4. Among 16 values per image, random pairs are far from optimal.
    """
    generator = torch.Generator().manual_seed(0)
    basis, _ = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64))
    denoiser = gaussian_denoiser(basis, torch.linspace(0.01, 0.5, 16, dtype=torch.float64))
    noise = torch.randn(200, 1, 4, 4, generator=generator, dtype=torch.float64)
    samples = final_state(Ddim(50, clip=False).sample(denoiser, noise))
    result = transport_gap(noise, samples)
    assert result.gap < 1e-12 and result.random > 1
    assert transport_gap(noise, samples.roll(1, dims=0)).gap > 1
