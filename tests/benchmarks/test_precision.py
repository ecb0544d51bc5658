"""Differences between precisions are checked against their bounds, and each precision is the one that computes."""

import pytest
import torch

from analyze.report.metrics import METRICS
from benchmarks.precision import quantities, table, trained_denoiser
from configs.schema import Analyze

CPU = torch.device("cpu")
BOOTSTRAP = " over bootstrap draws"


@pytest.mark.parametrize(
    ("quantity", "plain", "other", "allowed"),
    [
        ("distances/noise_latent", 10.0, 10.04, "yes"),
        ("distances/noise_latent", 10.0, 10.06, "NO"),
        ("distances/noise_latent_std", 10.0, 20.0, ""),
        ("noise_mapping/image_to_noise", 0.9, 0.902, "yes"),
        ("noise_mapping/image_to_noise", 0.9, 0.904, "NO"),
        ("correlation/noise", 0.1, 0.2, ""),
        ("triangle/image_of_mean", 20.0, 20.2, "NO"),
        ("triangle/image_most_probable", 20.0, 21.0, ""),
    ],
)
def test_bounded_quantities_are_checked(quantity, plain, other, allowed):
    assert quantity in METRICS
    (*_, row) = table({quantity: plain}, {quantity: other}, "bf16")
    assert row.endswith(f"| {allowed} |")


@pytest.mark.parametrize(("precision", "expected"), [("fp32", "highest"), ("tf32", "high")])
def test_the_network_runs_in_the_precision_of_the_options(precision, expected):
    denoiser, seen = trained_denoiser(CPU), set()
    denoiser.network.register_forward_pre_hook(lambda *_: seen.add(torch.get_float32_matmul_precision()))
    options = Analyze(samples=4, ddim_steps=2, precision=precision, compile=False)
    values = dict(quantities(denoiser, options))
    assert seen == {expected}
    assert {name for name in values if not name.endswith(BOOTSTRAP)} - METRICS.keys() == {"seconds"}
    assert sum(name.endswith(BOOTSTRAP) for name in values) == 3
