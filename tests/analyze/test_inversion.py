"""Tests of the comparison of inverters: budgets, stored results and statistics."""

import dataclasses
import math

import pytest
import torch
from safetensors.torch import load_file

from analyze import inversion
from analyze.inversion import compare_inverters, summarize, to_markdown
from configs.errors import UserError
from configs.load import load_model_study
from diffusion.randomness import fixed_noise
from diffusion.solvers import INVERTERS
from diffusion.solvers.spacing import StridedSpacing

SMALL = [
    "openai.schedule=cosine",
    "openai.steps=4000",
    "analyze.precision=fp32",
    "analyze.clip_denoised=false",
    "analyze.ddim_steps=4",
    "analyze.samples=4",
    "analyze.inverter_images=3",
    "wandb.mode=disabled",
]


@pytest.fixture
def study(pipelines, tmp_path):
    """A small study of the trained reference network, with overrides."""
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")

    def load(*overrides: str):
        return load_model_study(str(tmp_path / "ema_0.99_000500.pt"), [*SMALL, f"runs={tmp_path}/runs", *overrides])

    return load


def test_budgets_choose_the_largest_affordable_number_of_rounds(study):
    options = study("analyze.nfe=[4,9,13]", "analyze.inverters=[fixed point,AIDI (Anderson),naive (diffusers),EDICT]")
    results = compare_inverters(options).values()
    assert {result.label for result in results} == {
        "fixed point, K = 1",
        "fixed point, K = 2",
        "fixed point, K = 3",
        "AIDI (Anderson), K = 1",
        "AIDI (Anderson), K = 2",
        "naive (diffusers)",
        "EDICT",
    }
    by_label = {result.label: result for result in results}
    assert by_label["fixed point, K = 3"].evaluations == 12 and by_label["EDICT"].evaluations == 8
    naive = by_label["naive (diffusers)"].error_mean
    assert by_label["fixed point, K = 1"].error_mean == pytest.approx(naive, rel=1e-3)
    assert by_label["fixed point, K = 3"].error_mean < by_label["fixed point, K = 1"].error_mean


def test_adaptive_anderson_recovers_the_noise(study):
    (result,) = compare_inverters(study("analyze.inverters=[adaptive Anderson]")).values()
    assert result.error_p95 < 1e-2 and result.diverged == 0 and result.evaluations < 100


def test_stored_results_are_reused(study, monkeypatch):
    options = study("analyze.inverters=[fixed point]", "analyze.nfe=[4]")
    results = compare_inverters(options)
    monkeypatch.setattr(inversion, "_evaluate", None)
    assert compare_inverters(options) == results


def test_unknown_inverters_are_refused(study):
    with pytest.raises(UserError, match='there is no inverter "fixd point"; available are naive'):
        compare_inverters(study("analyze.inverters=[fixd point]"))


@pytest.mark.parametrize("name", INVERTERS)
def test_every_inverter_builds_for_a_spacing(name):
    inverter = INVERTERS[name]
    solver = inverter.build(min(1, inverter.max_rounds), steps=10, spacing=StridedSpacing(), clip=False)
    assert solver.sampling_evaluations >= 10 and solver.inversion_evaluations >= 9


def test_statistics_of_known_errors():
    x_T = fixed_noise((3, 8, 8), 50, 0)
    offset = torch.zeros_like(x_T)
    offset[:, 0, 0, 0] = 2.0
    result = summarize("shifted", x_T, x_T / 2, x_T + offset, x_T / 2 - 3 * offset, 7.0, 0.5)
    assert (result.error_mean, result.error_median, result.error_p95) == pytest.approx((2, 2, 2))
    assert result.reconstruction_mean == pytest.approx(6) and result.diverged == 0
    lost = summarize("lost", x_T, x_T, x_T * torch.nan, x_T, 1.0, 1.0)
    assert lost.diverged == 1 and lost.error_median == math.inf and math.isnan(lost.latent_angle)
    assert result.correlation == pytest.approx(result.correlation_floor, abs=0.2)
    assert to_markdown([result]).count("|") == 3 * (len(dataclasses.fields(result)) + 1)
