"""Tests that state dicts of other programs are read without executing code, and that mismatches are listed."""

import pickle
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from configs.errors import UserError
from models.state_dict import load_weights, read_state_dict


class Malicious:
    def __reduce__(self):
        return (print, ("executed",))


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_saved_tensors_are_read(tmp_path, suffix):
    weights, file = {"a": torch.arange(3.0), "b": torch.ones(2, 2)}, tmp_path / f"w.{suffix}"
    torch.save(weights, file) if suffix == "pt" else save_file(weights, file)
    read = read_state_dict(file)
    assert read.keys() == weights.keys() and all(torch.equal(read[key], weights[key]) for key in weights)


def test_a_pickle_that_executes_code_is_rejected_and_not_executed(tmp_path, capsys):
    torch.save({"a": Malicious()}, tmp_path / "malicious.pt")
    with pytest.raises(UserError, match=r"malicious.pt contains more than tensors"):
        read_state_dict(tmp_path / "malicious.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(UserError, match=r"plain.pt contains more than tensors"):
        read_state_dict(tmp_path / "plain.pt")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_pickle_that_would_crash_python_is_rejected(is_zip, tmp_path):
    nested = b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns."
    if is_zip:
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr("archive/data.pkl", nested)
            archive.writestr("archive/version", "3\n")
    else:
        (tmp_path / "w.pt").write_bytes(nested)
    with pytest.raises(UserError, match=r"w.pt cannot be read as a state dict: it contains too many objects"):
        read_state_dict(tmp_path / "w.pt")


def test_files_of_old_versions_of_pytorch_are_read(tmp_path):
    torch.save({"a": torch.arange(3.0)}, tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    assert read_state_dict(tmp_path / "w.pt")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {3: torch.ones(2)}, torch.ones(2)])
def test_other_content_is_rejected(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"w.pt is not a state dict"):
        read_state_dict(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["absent.pt", "text.pt", "text.safetensors"])
def test_unreadable_files_are_user_errors(tmp_path, name):
    if name.startswith("text"):
        (tmp_path / name).write_text("hello, this file contains no weights at all")
    with pytest.raises(UserError, match=name):
        read_state_dict(tmp_path / name)


def test_mismatches_are_listed(tmp_path):
    network = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    weights = {"0.weight": torch.ones(3, 5), "extra": torch.ones(1)}
    with pytest.raises(UserError) as error:
        load_weights(network, weights, tmp_path / "w.pt")
    assert str(error.value).endswith(
        "does not fit the network: missing: 0.bias, 1.bias, 1.weight; unexpected: extra; "
        "wrong shape: 0.weight ([3, 5] instead of [3, 2])"
    )
