"""The list of measures: what each one's signature is taken to ask for."""

import json
import math

import pytest

from analyze.measures import MEASURES
from configs.schema import Measures

ASKED = {
    "noise_mapping": (["noise", "samples"], {"mapping_images": 7}, False),
    "knn_coverage": (["noise", "samples", "last_samples"], {"knn_k": 3}, True),
    "cka": (["samples", "last_samples"], {}, True),
    "ssim": (["samples", "last_samples"], {}, True),
    "triangle": (["noise", "samples", "latents"], {}, False),
    "distances": (["noise", "samples", "latents"], {}, False),
}
CHOSEN = Measures(knn_k=3, mapping_images=7)


@pytest.mark.parametrize("name", ASKED)
def test_a_signature_says_what_a_measure_needs(name):
    (measure,) = (measure for measure in MEASURES if measure.name == name)
    assert (measure.inputs, measure.options(CHOSEN), measure.needs_last) == ASKED[name]


def test_names_are_given_once():
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("measure", MEASURES, ids=[measure.name for measure in MEASURES])
def test_values_are_finite_numbers_that_json_keeps(measure, drawn):
    tensors = {name: drawn(20) for name in ("noise", "samples", "latents", "last_samples")}
    values = measure.values(tensors, CHOSEN)
    assert values and all(type(value) is float and math.isfinite(value) for value in values.values())
    assert json.loads(json.dumps(values)) == values
