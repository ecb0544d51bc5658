"""Exponential moving average of the weights: its formula and initialization."""

import pytest
import torch
from torch import nn

from train.ema import Ema


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_average_starts_as_a_copy_of_the_weights(network):
    ema, before = Ema(network, 0.9), {name: value.clone() for name, value in network.state_dict().items()}
    nn.init.zeros_(network.weight)
    assert ema.weights.keys() == before.keys()
    assert all(torch.equal(ema.weights[name], before[name]) for name in before)
    assert not any(value.requires_grad for value in ema.weights.values())


def test_update_follows_the_formula(network):
    ema = Ema(network, 0.9)
    expected = {name: value.double().clone() for name, value in network.state_dict().items()}
    for step in range(5):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(step + 1.0)
        ema.update()
        for name, value in network.state_dict().items():
            expected[name] = 0.9 * expected[name] + (1 - 0.9) * value.double()
    for name in expected:
        torch.testing.assert_close(ema.weights[name].double(), expected[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("rate, weight", [(0.0, 0.0), (0.5, 0.25), (0.9999, 0.9999**2)])
def test_weight_of_the_initial_value_after_two_updates(rate, weight, network):
    ema, start = Ema(network, rate), network.weight.detach().clone()
    nn.init.zeros_(network.weight)
    ema.update()
    ema.update()
    torch.testing.assert_close(ema.weights["weight"], weight * start)


@pytest.mark.parametrize("rate, name", [(0.99, "ema_0.99"), (0.9999, "ema_0.9999"), (0.0, "ema_0.0")])
def test_name_matches_the_configuration(rate, name, network):
    assert Ema(network, rate).name == name
