"""Analysis on another device than the CPU: nothing it computes may depend on the device."""

import pytest
from other_device import OTHER, OtherDevice

from analyze.analysis import SeedAnalysis
from analyze.measures import MEASURES

WITHOUT_A_NETWORK = [
    measure for measure in MEASURES if not measure.needs_network and measure.name not in ("dino", "fid")
]
DERIVATIVES = {"step_error", "contraction", "forward_start"}  # torch.func hides the simulated device


@pytest.mark.parametrize("measure", WITHOUT_A_NETWORK, ids=lambda measure: measure.name)
def test_a_measure_of_tensors(measure, study):
    analysis = SeedAnalysis(study, 0)
    tensors = {name: analysis.generations(analysis.last_step)[name] for name in measure.inputs}
    expected = measure.values(tensors, study.analyze.measures)
    with OtherDevice():
        moved = {name: tensor.to(OTHER) for name, tensor in tensors.items()}
        assert all(tensor.device == OTHER for tensor in moved.values())
        assert measure.values(moved, study.analyze.measures) == expected


def test_a_whole_checkpoint(with_checkpoints, study, monkeypatch):
    """Its tensors are generated again; networks are inverted by one method."""
    options = ["inversion_checkpoints=last", "inverters=[fixed point]", "inverter_nfe=[8]", "inverter_images=2"]
    overrides = [f"analyze.measures.{option}" for option in options]
    analysis = SeedAnalysis(with_checkpoints("seeds=[0]", "analyze.compile=false", *overrides), 0)
    monkeypatch.setattr("analyze.analysis.MEASURES", [m for m in MEASURES if m.name not in DERIVATIVES])
    for module in ("analyze.generations", "analyze.analysis"):
        monkeypatch.setattr(f"{module}.devices", lambda: [OTHER])
    with OtherDevice():
        analysis.analyze([analysis.last_step])
    assert analysis.failures() == {} and analysis.last_step not in analysis.missing()
    results, expected = (each.results(each.last_step) for each in (analysis, SeedAnalysis(study, 0)))
    assert {"inverters", "self_interpolation"} == results.keys() - expected.keys()
    assert {name: results[name] for name in expected} == expected
