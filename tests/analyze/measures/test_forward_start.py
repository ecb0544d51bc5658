"""Forward start: closed forms of Gaussian data, and the numbers of replaced steps."""

import pytest
import torch
from gaussian import SHAPE, Gaussian, T, correlated, generations

from analyze.measures import exact_path
from analyze.measures.forward_start import forward_start
from analyze.measures.plain_areas import plain_areas
from diffusion.randomness import fixed_noise
from diffusion.solvers.forward_start import noise_of_images
from diffusion.solvers.spacing import StridedSpacing

IMAGES = 6
OPTIONS = {"forward_start_images": IMAGES, "plain_threshold": 0.5}


@pytest.fixture
def data() -> Gaussian:
    return correlated(1e-4, 0.1, 1.0, 4.0)


def invert(data: Gaussian, x: torch.Tensor, replaced: int) -> torch.Tensor:
    """Return the latents of naive inversion in coordinates, starting from x before the first step that is left."""
    for step in StridedSpacing().inversion(data.levels, T)[replaced:]:
        x = data.move(step.start, step.end, step.start) * x
    return x


def norms(coordinates: torch.Tensor) -> float:
    return coordinates.norm(dim=1).mean().item()


def test_errors_have_closed_forms(tmp_path, data, monkeypatch):
    float32 = exact_path.first_noises
    monkeypatch.setattr(exact_path, "first_noises", lambda *arguments: float32(*arguments).double())
    images = fixed_noise(SHAPE, IMAGES, 0).double()
    x_T, noise = data.coordinates(images), data.coordinates(noise_of_images(images, seed=0))
    states = data.states(x_T)
    values = forward_start(generations(data, tmp_path), **OPTIONS).by_steps
    assert values["replaced"] == [0, 1, 2, 4]
    for i, replaced in enumerate(values["replaced"]):
        level = StridedSpacing().inversion(data.levels, T)[replaced].start
        start = level.alpha * states[0] + level.sigma * noise if replaced else states[0]
        latents = invert(data, start, replaced)
        exact = invert(data, states[replaced + 1], replaced) if replaced else latents
        reconstruction = data.states(latents)[0]
        assert values["error"][i] == pytest.approx(norms(latents - x_T), rel=1e-6)
        assert values["exact_start"][i] == pytest.approx(norms(exact - x_T), rel=1e-6)
        assert values["reconstruction"][i] == pytest.approx(norms(reconstruction - states[0]), rel=1e-6)
        areas = plain_areas(images, data.images(states[0]), data.images(latents), plain_threshold=0.5)
        assert values["std_plain"][i] == pytest.approx(areas.std_plain, rel=1e-6)
        assert values["std_other"][i] == pytest.approx(areas.std_other, rel=1e-6)
        assert values["kl"][i] == pytest.approx(areas.kl, rel=1e-6)


def test_the_published_fraction_is_the_result(tmp_path, data):
    values = forward_start(generations(data, tmp_path, ddim_steps=50), **OPTIONS)
    assert values.by_steps["replaced"] == [0, 1, 2, 5, 10, 20]
    for name in values.by_steps.keys() - {"replaced"}:
        assert getattr(values, name) == values.by_steps[name][2], name
    assert 0 < values.kl_floor < 1


def test_the_noise_does_not_depend_on_the_batch_size(tmp_path, data):
    whole, split = (forward_start(generations(data, tmp_path, batch_size=size), **OPTIONS) for size in (8, 2))
    assert whole.by_steps["error"] == pytest.approx(split.by_steps["error"], rel=1e-5)
