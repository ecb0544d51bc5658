"""The list of measures: what each one's signature is taken to ask for."""

import json
import math
from collections.abc import Iterator

import pytest
import torch

from analyze.measures import MEASURES
from configs.errors import UserError
from configs.schema import Measures

ASKED = {
    "noise_mapping": (["noise", "samples"], {"mapping_images": 7}, False),
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
    "reconstruction": (["samples", "reconstructions"], {}, False),
    "interpolation_map": (["noise", "latents", "trajectory"], {}, False),
}
CHOSEN = Measures(knn_k=3, mapping_images=7, correlation_images=11, dino_model="/absent")


@pytest.mark.parametrize("name", ASKED)
def test_a_signature_says_what_a_measure_needs(name):
    (measure,) = (measure for measure in MEASURES if measure.name == name)
    assert (measure.inputs, measure.options(CHOSEN), measure.needs_last) == ASKED[name]


def test_names_are_given_once():
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)


def test_every_measure_is_listed_above():
    assert {measure.name for measure in MEASURES} == ASKED.keys()


WITHOUT_A_MODEL = [measure for measure in MEASURES if measure.name not in ("dino", "fid")]


@pytest.mark.parametrize("measure", WITHOUT_A_MODEL, ids=[measure.name for measure in WITHOUT_A_MODEL])
def test_values_are_finite_numbers_that_json_keeps(measure, drawn):
    names = ("noise", "samples", "latents", "last_samples", "last_latents", "reconstructions")
    tensors = {name: drawn(20) for name in names} | {"trajectory": torch.stack([drawn(20)[:6], drawn(20)[:6]])}
    values = measure.values(tensors, CHOSEN)
    numbers = list(flattened(values.values()))
    assert numbers and all(type(value) is float and math.isfinite(value) for value in numbers)
    assert list(flattened(json.loads(json.dumps(values)).values())) == numbers


def flattened(values) -> Iterator[float]:
    """The numbers of nested sequences."""
    for value in values:
        if isinstance(value, (tuple, list)):
            yield from flattened(value)
        else:
            yield value


def test_images_of_the_wrong_shape_are_refused(drawn):
    (measure,) = (measure for measure in MEASURES if measure.name == "cka")
    with pytest.raises(UserError, match=r"cka compares images of one shape .* samples \[20, .*, last_samples \[19, "):
        measure.values({"samples": drawn(20), "last_samples": drawn(19)}, CHOSEN)
