"""State dicts of other programs: tensors and nothing else, and what does not fit is told shortly."""

import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from configs.errors import UserError
from models.state_dict import load_weights, read_state_dict


class Harm:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_tensors_come_back(tmp_path, suffix):
    weights, file = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}, tmp_path / f"w.{suffix}"
    torch.save(weights, file) if suffix == "pt" else save_file(weights, file)
    read = read_state_dict(file)
    assert read.keys() == weights.keys() and all(torch.equal(read[key], weights[key]) for key in weights)


def test_a_pickle_that_would_execute_something_is_refused_and_not_executed(tmp_path, capsys):
    torch.save({"a": Harm()}, tmp_path / "harm.pt")
    with pytest.raises(UserError, match=r"harm.pt holds more than tensors"):
        read_state_dict(tmp_path / "harm.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(UserError, match=r"plain.pt holds more than tensors"):
        read_state_dict(tmp_path / "plain.pt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, torch.ones(2)])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w.pt is not a state dict"):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["absent.pt", "text.pt", "text.safetensors"])
def test_unreadable_files_end_in_a_sentence(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("hello, this is no file of weights at all")
    with pytest.raises(UserError, match=name):
        read_state_dict(tmp_path / name)


def test_what_does_not_fit_is_listed_shortly(tmp_path):
    network, weights = (
        nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)),
        {"0.weight": torch.ones(3, 5), "extra": torch.ones(1)},
    )
    with pytest.raises(UserError) as error:
        load_weights(network, weights, tmp_path / "w.pt")
    assert str(error.value).endswith(
        "does not fit the network: 0.bias, 1.bias, 1.weight missing; extra unexpected; "
        "0.weight ([3, 5] for [3, 2]) of another shape"
    )
