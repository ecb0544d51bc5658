"""The registry of measures: requirements read from signatures, conditions of stored results, and errors."""

import json
import math
from collections.abc import Iterator

import pytest
import torch

from analyze.measures import MEASURES, Measure, MeasureFailed
from configs.errors import UserError
from configs.schema import Measures

REQUIREMENTS = {
    "noise_mapping": (["noise", "samples"], {"mapping_images": 7}, False),
    "hungarian": (["noise", "samples"], {"mapping_images": 7}, False),
    "transport_gap": (["noise", "samples"], {}, False),
    "knn_coverage": (["noise", "samples", "last_samples"], {"knn_k": 3}, True),
    "cka": (["samples", "last_samples"], {}, True),
    "ssim": (["samples", "last_samples"], {}, True),
    "triangle": (["noise", "samples", "latents"], {}, False),
    "distances": (["noise", "samples", "latents"], {}, False),
    "svcca": (["samples", "last_samples"], {}, True),
    "dino": (["samples", "last_samples"], {"dino_model": "/absent"}, True),
    "fid": (["samples", "training_images"], {"fid_network": None}, False),
    "early_inverter": (["noise", "last_samples", "last_latents"], {}, True),
    "correlation": (["noise", "samples", "latents"], {"correlation_images": 11}, False),
    "plain_areas": (["noise", "samples", "latents"], {"plain_threshold": 0.5}, False),
    "reconstruction": (["samples", "reconstructions"], {}, False),
    "interpolation_map": (["noise", "latents", "trajectory"], {}, False),
    "self_interpolation": (["generations"], {}, False),
    "step_error": (["generations"], {"step_error_images": 64, "plain_threshold": 0.5}, False),
    "contraction": (["generations"], {"contraction_images": 8, "plain_threshold": 0.5}, False),
    "forward_start": (["generations"], {"forward_start_images": 64, "plain_threshold": 0.5}, False),
    "inverters": (["generations"], {"inverters": ["EDICT"], "inverter_nfe": [], "inverter_images": 32}, False),
}
CONFIG = Measures(
    knn_k=3,
    mapping_images=7,
    correlation_images=11,
    plain_threshold=0.5,
    dino_model="/absent",
    inverters=["EDICT"],
)


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_requirements_are_read_from_the_signature(name):
    (measure,) = (measure for measure in MEASURES if measure.name == name)
    assert (measure.inputs, measure.options(CONFIG), measure.needs_last) == REQUIREMENTS[name]


def test_names_are_unique():
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)


def test_every_measure_is_tested_here():
    assert {measure.name for measure in MEASURES} == REQUIREMENTS.keys()


WITHOUT_A_MODEL = [m for m in MEASURES if m.name not in ("dino", "fid") and not m.needs_network]


@pytest.mark.parametrize("measure", WITHOUT_A_MODEL, ids=[measure.name for measure in WITHOUT_A_MODEL])
def test_values_are_finite_and_survive_json(measure, random_images):
    names = ("noise", "samples", "latents", "last_samples", "last_latents", "reconstructions")
    tensors = {name: random_images(20) for name in names} | {
        "trajectory": torch.stack([random_images(20)[:6], random_images(20)[:6]])
    }
    values = measure.values(tensors, CONFIG)
    numbers = list(flattened(values.values()))
    assert numbers and all(type(value) in (int, float) and math.isfinite(value) for value in numbers)
    assert list(flattened(json.loads(json.dumps(values)).values())) == numbers


def flattened(values) -> Iterator[float]:
    """Yield the numbers of nested sequences."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from flattened(value)
        else:
            yield value


def test_inputs_of_different_shapes_are_refused(random_images):
    (measure,) = (measure for measure in MEASURES if measure.name == "cka")
    with pytest.raises(
        UserError, match=r"cka requires inputs of the same shape .* samples \[20, .*, last_samples \[19, "
    ):
        measure.values({"samples": random_images(20), "last_samples": random_images(19)}, CONFIG)


def test_an_unexpected_error_names_the_measure(random_images):
    def brightness(samples):
        raise ZeroDivisionError("no light\nat all")

    with pytest.raises(MeasureFailed, match=r"^brightness failed: ZeroDivisionError: no light$"):
        Measure(brightness).values({"samples": random_images(2)}, CONFIG)


def test_conditions_change_with_options_and_version():
    """Version 1 is not stored, so results stored before versions existed stay fresh."""

    def brightness(samples, *, knn_k):
        return samples

    assert Measure(brightness).conditions(CONFIG) == {"options": {"knn_k": 3}}
    assert Measure(brightness, version=2).conditions(CONFIG) == {"options": {"knn_k": 3}, "version": 2}
    versions = {measure.name: measure.version for measure in MEASURES if measure.version > 1}
    assert versions == {"ssim": 2, "contraction": 2, "step_error": 2, "inverters": 4, "self_interpolation": 2}
