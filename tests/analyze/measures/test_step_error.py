"""Errors of naive inversion by step: closed forms of Gaussian data, and errors recorded by another implementation."""

import itertools

import numpy as np
import pytest
import torch
from gaussian import SHAPE, T, correlated, generations, pixels_with

from analyze.generations import Generations
from analyze.measures import exact_path
from analyze.measures.plain_areas import plain_mask
from analyze.measures.step_error import FIRST_STEPS, log_correlation, step_error
from analyze.settings import Setting
from configs.schema import Analyze
from diffusion.randomness import fixed_noise
from diffusion.solvers.naive import Naive
from diffusion.solvers.solver import final_state

IMAGES = 5
OPTIONS = {"step_error_images": IMAGES, "plain_threshold": 0.025}


@pytest.fixture
def double_noise(monkeypatch):
    """Compute in double precision, by starting from double-precision noise."""
    float32 = exact_path.first_noises
    monkeypatch.setattr(exact_path, "first_noises", lambda *arguments: float32(*arguments).double())


def norms(coordinates):
    return coordinates.norm(dim=1).mean().item()


def naive_states(data, x, skipped=0):
    """Return the states of naive inversion after every step in coordinates, from x after the skipped steps."""
    states = []
    for step in data.inverse_steps[skipped:]:
        states.append(data.move(step.start, step.end, step.end) * (states[-1] if states else x))
    return states


def test_errors_of_correlated_data_have_closed_forms(tmp_path, double_noise):
    data = correlated(1e-4, 0.1, 1.0, 4.0)
    states = data.states(data.coordinates(fixed_noise(SHAPE, IMAGES, 0)))
    naive = naive_states(data, states[0])
    values = step_error(generations(data, tmp_path), **OPTIONS)
    moved = [x_s - x_t for x_s, x_t in itertools.pairwise(states)]
    local = [data.jacobian(step) * move for step, move in zip(data.inverse_steps, moved, strict=True)]
    accumulated = [x - x_t for x, x_t in zip(naive, states[1:], strict=True)]
    for name, expected in (("distance", moved), ("local", local), ("predicted", local), ("accumulated", accumulated)):
        assert values.steps[name] == pytest.approx(list(map(norms, expected)), rel=1e-6), name
    assert values.error == pytest.approx(norms(accumulated[-1]), rel=1e-6)
    assert values.correlation == pytest.approx(1, abs=1e-6) and values.slope == pytest.approx(1, rel=1e-6)
    without_first = naive_states(data, states[FIRST_STEPS], FIRST_STEPS)[-1]
    assert values.first_share == pytest.approx(1 - norms(without_first - states[-1]) / values.error, rel=1e-6)
    errors = np.array(values.steps["local"])
    assert values.worst_step == errors.argmax() + 1
    assert values.worst_relative == (errors / values.steps["sigma"]).argmax() + 1


def test_errors_of_plain_and_other_pixels(tmp_path, double_noise):
    """The left half of every image is plain, because its variance is small."""
    variances = torch.ones(4, 4)
    variances[:, :2] = 1e-8
    data = pixels_with(variances)
    states = data.states(data.coordinates(fixed_noise(SHAPE, IMAGES, 0)))
    plain = plain_mask(data.images(states[0]), 0.025)[:, None].expand(-1, *SHAPE)
    values = step_error(generations(data, tmp_path), **OPTIONS)
    last = data.inverse_steps[-1]
    errors = {
        "distance": data.images(states[-2] - states[-1]),
        "local": data.images(data.jacobian(last) * (states[-2] - states[-1])),
        "accumulated": data.images(naive_states(data, states[0])[-1] - states[-1]),
    }
    for kind, images in errors.items():
        for name, mask in (("plain", plain), ("other", ~plain)):
            expected = images[mask].square().mean().sqrt().item()
            assert values.steps[f"{kind}_{name}"][-1] == pytest.approx(expected, rel=1e-6), (kind, name)
    assert values.error_plain > 1.2 * values.error_other
    assert values.error_plain == values.steps["accumulated_plain"][-1]


def test_a_denoiser_without_output_makes_no_error(tmp_path):
    denoiser = pixels_with(torch.ones(4, 4)).denoiser()
    object.__setattr__(denoiser, "network", lambda x_t, t, y: 0 * x_t)
    options = Analyze(samples=4, ddim_steps=T)
    silent = Generations(tmp_path, Setting.from_options(options, 0), options, lambda device, optimized=True: denoiser)
    values = step_error(silent, step_error_images=2, plain_threshold=0.0)
    assert values.steps["local"] == [0] * T and values.error == pytest.approx(0, abs=1e-5)
    assert values.correlation is None and values.slope is None
    assert values.error_plain is None and values.error_other == pytest.approx(0, abs=1e-6)


def test_naive_inversion_is_that_of_diffusers(tmp_path):
    data = correlated(0.1, 1.0)
    x_T = fixed_noise(SHAPE, 3, 0)
    naive = Naive(T, clip=False)
    latents = final_state(naive.invert(data.denoiser(), final_state(naive.sample(data.denoiser(), x_T))))
    expected = (latents - x_T).flatten(1).norm(dim=1).mean().item()
    values = step_error(generations(data, tmp_path), step_error_images=3, plain_threshold=0.025)
    assert values.error == pytest.approx(expected, rel=1e-5)


def test_local_errors_match_another_implementation(trained32, repository, tmp_path, monkeypatch):
    """The reference errors are means over four images in double precision, T = 20, without clipping."""
    reference = np.load(repository / "tests" / "reference" / "contraction.npz")
    x_T = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(exact_path, "first_noises", lambda *arguments: x_T)
    options = Analyze(samples=4, ddim_steps=20, clip_denoised=False)
    setting = Setting.from_options(options, 0)
    network = Generations(tmp_path, setting, options, lambda device, optimized=True: trained32.denoiser)
    values = step_error(network, step_error_images=4, plain_threshold=0.025)
    steps = values.steps
    assert steps["prefactor"] == pytest.approx(reference["prefactor"].tolist(), rel=1e-6)
    assert steps["local"] == pytest.approx(reference["naive_one_step_error"].tolist(), rel=1e-4, abs=1e-6)
    assert values.error == pytest.approx(4.20, abs=0.005)  # of diffusers' inversion, over the same images
    assert values.correlation > 0.99 and values.slope == pytest.approx(1, abs=0.05)


def test_correlation_of_logarithms():
    predicted = torch.tensor([[1e-3, 1.0], [10.0, 0.0]])
    assert log_correlation(predicted, 3 * predicted.square()).item() == pytest.approx(1)
    assert log_correlation(predicted, 1 / (predicted + 1e-9)).item() == pytest.approx(-1, abs=1e-3)
