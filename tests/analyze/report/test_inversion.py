"""Tests of the page that compares inverters."""

import math
import re

import pytest
import torch
from safetensors.torch import save_file

from analyze.inversion import InverterResult
from analyze.report.inversion import findings, write_inverter_report
from configs.load import load_model_study
from diffusion.randomness import fixed_noise


def result(label: str, evaluations: float, error: float) -> InverterResult:
    return InverterResult(label, evaluations, error, error, error, 0.0, error, error, 60.0, 0.3, 0.2, 0.01)


RESULTS = [
    result("naive (diffusers)", 10, 4.0),
    result("fixed point, K = 2", 20, 1.0),
    result("fixed point, K = 5", 50, 0.2),
    result("BDIA <fast>", 10, math.inf),
]


def test_findings_name_the_best_method_of_each_budget():
    assert findings(RESULTS, 10)[1] == (
        "With at most 20 evaluations per image, fixed point, K = 2 comes closest to x_T: the mean error is 1, followed "
        "by naive (diffusers) with 4."
    )
    assert findings(RESULTS[:1], 10) == ["Too few results to compare."]


@pytest.fixture
def page(tmp_path) -> str:
    study = load_model_study("model.pt", [f"runs={tmp_path}", "name=inverters", "analyze.ddim_steps=10"])
    files = {}
    for i, item in enumerate(RESULTS):
        file = tmp_path / f"{i}.json"
        latents = fixed_noise((3, 8, 8), 6, 0) + 0.1 * i
        save_file(
            {"latents": latents if math.isfinite(item.error_mean) else latents * torch.nan},
            file.with_suffix(".safetensors"),
        )
        files[file] = item
    report = write_inverter_report(study, files)
    assert report.with_suffix(".md").read_text().count("\n") == 2 + len(RESULTS)
    return report.read_text(encoding="utf-8")


def test_page_shows_every_result_with_pictures_and_escapes_names(page):
    for item in RESULTS:
        assert item.label.replace("<", "&lt;").replace(">", "&gt;") in page
    assert page.count("data:image/png") == len(RESULTS) and "BDIA <fast>" not in page
    assert re.search(r"<svg[^>]*>", page) and "Error of the recovered noise" in page
