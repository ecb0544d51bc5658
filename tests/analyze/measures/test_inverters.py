"""Tests of the comparison of inverters: budgets, stored results and statistics."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from analyze.measures.inverters import InverterResult, _data_images, _describe, candidates_for, inverters
from analyze.model import analyze_model
from configs.errors import UserError
from configs.load import load_model_study
from diffusion.solvers import INVERTERS
from diffusion.solvers.aidi import AidiAnderson, AidiEmpirical
from diffusion.solvers.anderson import Anderson
from diffusion.solvers.bdia import Bdia
from diffusion.solvers.belm import OBelm
from diffusion.solvers.dpm_forward_step import DpmForwardStep
from diffusion.solvers.dpm_solver import DpmSolver
from diffusion.solvers.easyinv import EasyInv
from diffusion.solvers.edict import Edict
from diffusion.solvers.fixed_point import FixedPoint
from diffusion.solvers.forward_start import ForwardStart
from diffusion.solvers.forward_step import ForwardStep
from diffusion.solvers.gnri import Gnri
from diffusion.solvers.naive import Naive
from diffusion.solvers.newton_krylov import NewtonKrylov
from diffusion.solvers.renoise import ReNoise
from diffusion.solvers.rex import Rex
from diffusion.solvers.spacing import StridedSpacing

SMALL = [
    "openai.schedule=cosine",
    "openai.steps=4000",
    "analyze.precision=fp32",
    "analyze.clip_denoised=false",
    "analyze.ddim_steps=4",
    "analyze.samples=4",
    "analyze.measures.inverter_images=3",
    "wandb.mode=disabled",
]

SETTING: dict[str, Any] = {"steps": 10, "spacing": StridedSpacing(), "clip": False}
NAMED = {  # the solver that each name stands for, with 7 rounds if it has rounds
    "naive (improved-diffusion)": Naive(**SETTING, image_at="first", evaluate_at="start", end_at="zero"),
    "naive (diffusers)": Naive(**SETTING, image_at="clean", evaluate_at="end", end_at="last"),
    "naive (BELM)": Naive(**SETTING, image_at="clean", evaluate_at="start", end_at="last"),
    "forward start": ForwardStart(**SETTING, replaced=1),
    "EasyInv": EasyInv(**SETTING, start=0.85, length=0.1, eta=0.8),
    "DPM-Solver++(2M)": DpmSolver(**SETTING, order=2),
    "DPM-Solver++(3M)": DpmSolver(**SETTING, order=3),
    "BDIA": Bdia(**SETTING, gamma=1.0),
    "O-BELM": OBelm(**SETTING),
    "EDICT": Edict(**SETTING, p=0.93),
    "Rex (Euler)": Rex(**SETTING, tableau="euler", zeta=0.999),
    "Rex (midpoint)": Rex(**SETTING, tableau="midpoint", zeta=0.999),
    "Rex (RK4)": Rex(**SETTING, tableau="rk4", zeta=0.999),
    "fixed point": FixedPoint(**SETTING, rounds=7),
    "AIDI (Anderson)": AidiAnderson(**SETTING, rounds=7, window=3),
    "AIDI (empirical)": AidiEmpirical(**SETTING, rounds=7),
    "ReNoise": ReNoise(**SETTING, rounds=7, averaged=(8, 10), first_rounds=5, first_averaged=(0, 5)),
    "GNRI": Gnri(**SETTING, rounds=7, guidance=0.1, divisor=16384.0),
    "Newton–Krylov": NewtonKrylov(**SETTING, newton_steps=1, krylov_steps=7),
    "forward step": ForwardStep(**SETTING, max_rounds=7, threshold=1e-3),
    "forward step (2M)": DpmForwardStep(**SETTING, max_rounds=7, threshold=1e-3, order=2),
    "extrapolated Anderson": Anderson(**SETTING, rounds=7, tolerance=0.0),
    "adaptive Anderson": Anderson(**SETTING, rounds=7, tolerance=1e-6),
}


@pytest.fixture
def study(pipelines, tmp_path):
    """A small study of the trained reference network, with overrides."""
    torch.save(load_file(pipelines / "trained32.safetensors"), tmp_path / "ema_0.99_000500.pt")

    def load(*overrides: str):
        return load_model_study(str(tmp_path / "ema_0.99_000500.pt"), [*SMALL, f"runs={tmp_path}/runs", *overrides])

    return load


def compare(study) -> dict[str, InverterResult]:
    """Compare the inverters of a study and return the results by label."""
    study.sweep = [study.analyze.ddim_steps]
    (analysis,) = analyze_model(study, only="inverters")[1]
    assert not analysis.failures(), analysis.failures()
    stored = analysis.results(analysis.last_step)["inverters"]["values"]
    results = [InverterResult.from_json(values) for values in stored["results"].values()]
    assert {result.key: result.recovery.error_mean for result in results} == {
        key: value for key, value in stored.items() if key != "results"
    }
    return {result.label: result for result in results}


def test_images_keep_their_class_if_another_latent_is_lost(tiny_model_study):
    """Latents equal to the noise reproduce their images exactly, which other classes would not."""
    source, (analysis, *_) = analyze_model(tiny_model_study("sweep=[2]"))
    generations = analysis.generations(2)
    latents = generations["noise"].clone()
    latents[0] = torch.nan
    described = _describe(generations, generations.sampler, generations["samples"], latents)
    assert source.about and described.reconstruction_median == pytest.approx(0, abs=1e-5)


def test_training_images_are_not_inverted_with_the_classes_of_others(tiny_model_study, monkeypatch):
    _, (analysis, *_) = analyze_model(tiny_model_study("sweep=[2]"))
    generations = analysis.generations(2)
    monkeypatch.setattr("analyze.generations.NO_IMAGES", torch.zeros(9, 1, 8, 8, dtype=torch.uint8))
    assert len(generations["training_images"]) == 9 and generations.denoisers[0].num_classes == 4
    assert _data_images(generations, 3) is None


def test_budgets_choose_the_largest_affordable_number_of_rounds(study):
    names = "analyze.measures.inverters=[fixed point,AIDI (Anderson),naive (diffusers),EDICT]"
    results = compare(study("analyze.measures.inverter_nfe=[4,9,13]", names))
    assert results.keys() == {
        "fixed point, K = 1",
        "fixed point, K = 2",
        "fixed point, K = 3",
        "AIDI (Anderson), K = 1",
        "AIDI (Anderson), K = 2",
        "naive (diffusers)",
        "EDICT",
        "EDICT, own",
        "EDICT, own + state",
    }
    assert results["fixed point, K = 3"].evaluations == 12 and results["EDICT"].evaluations == 8
    naive = results["naive (diffusers)"].recovery.error_mean
    assert results["fixed point, K = 1"].recovery.error_mean == pytest.approx(naive, rel=1e-3)
    assert results["fixed point, K = 3"].recovery.error_mean < results["fixed point, K = 1"].recovery.error_mean


def test_budgets_count_evaluations_of_guidance_twice(study, monkeypatch):
    _, analyses = analyze_model(study("analyze.measures.inversion_checkpoints=none", "sweep=[4]"))
    generations = analyses[-1].generations(4)
    guided = [dataclasses.replace(denoiser, evaluations_per_call=2) for denoiser in generations.denoisers]
    monkeypatch.setitem(vars(generations), "denoisers", guided)
    chosen, default = (
        [each.rounds for each in candidates_for(generations, ["fixed point"], nfe)] for nfe in ([8, 24], [])
    )
    assert chosen == [1, 3] and min(default) == 1


def test_training_images_that_were_prepared_later_are_inverted(study, monkeypatch):
    _, analyses = analyze_model(study("analyze.measures.inversion_checkpoints=none", "sweep=[4]"))
    generations = analyses[-1].generations(4)
    options = {"inverters": ["naive (diffusers)"], "inverter_nfe": [4], "inverter_images": 3}
    (before,) = inverters(generations, **options)["results"].values()
    images = torch.randint(0, 256, (9, 3, 32, 32), dtype=torch.uint8)
    monkeypatch.setattr("analyze.generations.NO_IMAGES", images)
    (after,) = inverters(generations, **options)["results"].values()
    assert before["data"] is None and after["data"] is not None


def test_adaptive_anderson_recovers_the_noise(study):
    (result,) = compare(study("analyze.measures.inverters=[adaptive Anderson]")).values()
    assert result.recovery.error_p95 < 1e-2 and result.recovery.diverged == 0 and result.evaluations < 100
    assert result.latents.reconstruction_mean < 1e-2 and result.data is None


def test_stored_results_are_reused(study, monkeypatch):
    options = study("analyze.measures.inverters=[fixed point]", "analyze.measures.inverter_nfe=[4]")
    first = compare(options)
    monkeypatch.setattr(importlib.import_module("analyze.measures.inverters"), "_evaluate", None)
    more = study("analyze.measures.inverters=[fixed point]", "analyze.measures.inverter_nfe=[4,4]")
    assert compare(more) == first


def _anderson_of_unit_data(rounds: int, **setting) -> Anderson:
    return Anderson(**setting, rounds=rounds, data_std=1.0)


def test_results_of_a_method_whose_options_changed_are_computed_again(study, monkeypatch):
    names = "analyze.measures.inverters=[extrapolated Anderson]"
    before = compare(study(names, "analyze.measures.inverter_nfe=[4]"))
    changed = dataclasses.replace(INVERTERS["extrapolated Anderson"], build=_anderson_of_unit_data)
    monkeypatch.setitem(INVERTERS, "extrapolated Anderson", changed)
    after = compare(study(names, "analyze.measures.inverter_nfe=[8]"))
    assert list(before) == ["extrapolated Anderson, K = 1"] and list(after) == ["extrapolated Anderson, K = 2"]


def test_damaged_results_are_computed_again(study):
    names = "analyze.measures.inverters=[fixed point]"
    first = compare(study(names, "analyze.measures.inverter_nfe=[4]"))
    for damaged, content in enumerate(["{", "[]", "null"]):
        (file,) = Path(study().runs).rglob("fixed-point-K1-N3.json")
        file.write_text(content, encoding="utf-8")
        again = compare(study(names, f"analyze.measures.inverter_nfe=[4,{5 + damaged}]"))
        assert again["fixed point, K = 1"].recovery == first["fixed point, K = 1"].recovery


def test_unknown_inverters_are_refused(study):
    """Before anything is generated."""
    typo = study("analyze.measures.inverters=[fixd point]", "sweep=[4]")
    with pytest.raises(UserError, match='there is no inverter "fixd point"; available are naive'):
        analyze_model(typo)
    assert not list(Path(typo.runs).rglob("*.safetensors"))


@pytest.mark.parametrize("name", INVERTERS)
def test_every_inverter_builds_the_solver_of_its_name(name):
    solver = INVERTERS[name].build(7, **SETTING)
    assert solver == NAMED[name]
    assert solver.sampling_evaluations >= 10 and solver.inversion_evaluations >= 9


def test_reversible_samplers_are_compared_on_their_own_images_with_and_without_state(study):
    results = compare(study("analyze.measures.inverters=[EDICT]", "analyze.measures.inverter_nfe=[8]"))
    errors = {label: result.recovery.error_mean for label, result in results.items()}
    assert errors["EDICT, own + state"] < 1e-3 < errors["EDICT, own"]
    assert {result.evaluations for result in results.values()} == {8}
    assert results["EDICT, own"].latents.reconstruction_mean > 1e-3  # sampling from the latent alone has no state
