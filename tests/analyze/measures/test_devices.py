"""Measures of tensors on another device than the CPU."""

import pytest
from other_device import OTHER, OtherDevice

from analyze.analysis import SeedAnalysis
from analyze.measures import MEASURES

WITHOUT_A_NETWORK = [
    measure for measure in MEASURES if not measure.needs_network and measure.name not in ("dino", "fid")
]


@pytest.mark.parametrize("measure", WITHOUT_A_NETWORK, ids=lambda measure: measure.name)
def test_values_do_not_depend_on_the_device(measure, study):
    analysis = SeedAnalysis(study, 0)
    tensors = {name: analysis.generations(analysis.last_step)[name] for name in measure.inputs}
    expected = measure.values(tensors, study.analyze.measures)
    with OtherDevice():
        moved = {name: tensor.to(OTHER) for name, tensor in tensors.items()}
        assert all(tensor.device == OTHER for tensor in moved.values())
        assert measure.values(moved, study.analyze.measures) == expected
