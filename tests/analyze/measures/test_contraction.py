"""Contraction of inverse steps: closed forms of Gaussian data, exact spectra of matrices, and a reference network."""

import importlib
import itertools
import math

import numpy as np
import pytest
import torch
from gaussian import SHAPE, T, correlated, generations, pixels_with

from analyze.generations import Generations
from analyze.measures import exact_path
from analyze.measures.contraction import (
    FIRST_STEPS,
    MAX_STEPS,
    chosen_steps,
    contraction,
    gains,
    has_fold,
    ritz_values,
    spectral_norm,
)
from analyze.measures.plain_areas import plain_mask
from analyze.settings import Setting
from configs.schema import Analyze
from diffusion.randomness import fixed_noise, normal

OPTIONS = {"contraction_images": 3, "plain_threshold": 0.025}


@pytest.fixture
def double_noise(monkeypatch):
    """Compute in double precision, by starting from double-precision noise."""
    float32 = exact_path.first_noises
    monkeypatch.setattr(exact_path, "first_noises", lambda *arguments: float32(*arguments).double())


@pytest.fixture
def matrices():
    """Random matrices [3, 12, 12] that are neither symmetric nor normal; one has a dominant pair of eigenvalues."""
    matrices = torch.randn(3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrices[0, :2] = matrices[0, :, :2].T.zero_()
    matrices[0, :2, :2] = torch.tensor([[3.0, -20.0], [20.0, 3.0]])
    return matrices


def multiply(matrices):
    return lambda vectors: torch.einsum("nij,nj->ni", matrices, vectors)


def test_spectra_of_matrices_are_exact_in_the_full_space(matrices):
    start = torch.ones(3, 12, dtype=torch.float64)
    norms = spectral_norm(multiply(matrices), multiply(matrices.mT), start, iterations=12)
    assert norms.numpy() == pytest.approx(torch.linalg.matrix_norm(matrices, 2).numpy(), rel=1e-9)
    eigenvalues, expected = ritz_values(multiply(matrices), start, 12), torch.linalg.eigvals(matrices)
    assert eigenvalues.abs().amax(dim=1).numpy() == pytest.approx(expected.abs().amax(dim=1).numpy(), rel=1e-9)
    assert eigenvalues.real.amax(dim=1).numpy() == pytest.approx(expected.real.amax(dim=1).numpy(), rel=1e-9)
    assert eigenvalues[0].abs().max() == pytest.approx(math.hypot(3, 20))


def test_an_invariant_space_ends_the_search():
    start = torch.randn(2, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for factor in (0.0, -0.3):
        product = multiply(factor * torch.eye(12).double().expand(2, 12, 12))
        assert spectral_norm(product, product, start, 12).tolist() == pytest.approx([abs(factor)] * 2)
        assert ritz_values(product, start, 12).abs().amax(dim=1).tolist() == pytest.approx([abs(factor)] * 2)


def test_the_norm_is_approached_from_below(matrices):
    start = torch.ones(3, 12, dtype=torch.float64)
    norms = [spectral_norm(multiply(matrices), multiply(matrices.mT), start, k) for k in (1, 3, 6, 12)]
    assert all((fewer <= more + 1e-9).all() for fewer, more in itertools.pairwise(norms))


def test_gains_of_directions(matrices):
    first, second = torch.zeros(3, 12).double(), torch.zeros(3, 12).double()
    first[:, 4], second[:2, 7] = 5.0, 0.1  # the third image has no second direction
    gain, quotient = gains(multiply(matrices), [first, second])
    columns = matrices[:, :, [4, 7]].norm(dim=1).mean(dim=1)
    assert gain[:2].numpy() == pytest.approx(columns[:2].numpy()) and gain[2].isnan()
    assert quotient[0] == pytest.approx((matrices[0, 4, 4] + matrices[0, 7, 7]).item() / 2)


def test_isotropic_data_contracts_by_the_closed_form_in_every_direction(tmp_path, double_noise):
    data = pixels_with(torch.full((4, 4), 0.25))
    values = contraction(generations(data, tmp_path), **OPTIONS)
    expected = [data.jacobian(step)[0].item() for step in data.inverse_steps]
    for name in ("norm", "radius", "rightmost", "gain_plain", "gain_other", "rayleigh_plain", "rayleigh_other"):
        assert values.steps[name] == pytest.approx(expected, rel=1e-6), name
        assert values.steps[f"{name}_std"] == pytest.approx([0] * T, abs=1e-6), name
    assert values.largest_norm == values.largest_radius == pytest.approx(max(expected), rel=1e-6)
    assert values.steps["prefactor"][0] == 1 and values.steps["number"] == list(range(1, T + 1))
    assert values.expanding == values.folding == 0


def test_an_eigenvalue_of_one_up_to_rounding_is_no_fold():
    """Clipped pixels have J = B·I, and B is 1 in the first step."""
    assert has_fold(torch.tensor([[1 + 1e-6, 0.5], [0.9, 1.2]])).tolist() == [False, True]


def test_correlated_data_contracts_by_its_smallest_variance(tmp_path, double_noise):
    data = correlated(1e-4, 0.1, 1.0, 4.0)
    values = contraction(generations(data, tmp_path), **OPTIONS)
    expected = [data.jacobian(step).max().item() for step in data.inverse_steps]
    for name in ("norm", "radius", "rightmost"):
        assert values.steps[name] == pytest.approx(expected, rel=1e-6), name
    assert max(expected) > 3 * min(expected)


def test_gains_belong_to_plain_and_to_other_pixels(tmp_path, double_noise):
    """The left half of every image is plain, because its variance is small."""
    variances = torch.ones(4, 4)
    variances[:, :2] = 1e-8
    data = pixels_with(variances)
    x_T = fixed_noise(SHAPE, 3, 0)
    x_0 = data.images(data.states(data.coordinates(x_T))[0])
    plain = plain_mask(x_0, 0.025)[:, None]
    assert plain[:, :, :, 0].all() and not plain.all()
    steps = contraction(generations(data, tmp_path), **OPTIONS).steps
    for name, mask in (("plain", plain), ("other", ~plain)):
        directions = [(mask * normal(SHAPE, 0, "directions", [(i,)])).flatten(1).double() for i in (1, 2)]
        units = [direction / direction.norm(dim=1, keepdim=True) for direction in directions]
        images = [[unit * data.jacobian(step) for unit in units] for step in data.inverse_steps]
        gain = [torch.stack([image.norm(dim=1) for image in pair]).mean().item() for pair in images]
        assert steps[f"gain_{name}"] == pytest.approx(gain, rel=1e-6)
    assert all(plain > other for plain, other in zip(steps["rayleigh_plain"], steps["rayleigh_other"], strict=True))


def test_images_without_plain_pixels_have_no_gain(tmp_path):
    values = contraction(
        generations(pixels_with(torch.ones(4, 4)), tmp_path), contraction_images=2, plain_threshold=0.0
    )
    assert values.steps["gain_plain"] == values.steps["rayleigh_plain_std"] == [None] * T
    assert None not in values.steps["gain_other"]


@pytest.mark.parametrize("steps", [2, MAX_STEPS, MAX_STEPS + 1, 100, 4000])
def test_the_first_steps_and_the_last_are_always_measured(steps):
    chosen = chosen_steps(steps)
    assert chosen[:FIRST_STEPS] == list(range(min(FIRST_STEPS, steps))) and chosen[-1] == steps - 1
    assert len(chosen) == len(set(chosen)) <= MAX_STEPS


def test_fixed_point_iteration_converges_at_the_rate_of_the_spectral_radius(
    trained32, repository, tmp_path, monkeypatch
):
    """The reference rate is that of the tenth round of another implementation, for the same four images, T = 20."""
    reference = np.load(repository / "tests" / "reference" / "contraction.npz")
    x_T = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(exact_path, "first_noises", lambda *arguments: x_T)
    module, chosen = importlib.import_module("analyze.measures.contraction"), [5, 19]
    monkeypatch.setattr(module, "chosen_steps", lambda steps: chosen)
    options = Analyze(samples=4, ddim_steps=20, clip_denoised=False)
    setting = Setting.from_options(options, 0)
    network = Generations(tmp_path, setting, options, lambda device, optimized=True: trained32.denoiser)
    steps = contraction(network, contraction_images=4, plain_threshold=0.025).steps
    assert steps["prefactor"] == pytest.approx(reference["prefactor"][chosen].tolist(), rel=1e-6)
    for rate, radius, norm in zip(reference["ratio10"][chosen], steps["radius"], steps["norm"], strict=True):
        assert 0.9 * radius < rate < radius * 1.001 < norm * 1.002
