"""Training states: the newest two are stored, and a damaged state falls back to the one before."""

import errno
import os

import pytest
import torch

from configs.errors import UserError
from records.atomic import file_digest, write_json
from records.layout import saved_steps
from train import state
from train.state import load_newest, save


@pytest.fixture
def folder(tmp_path):
    """A folder after saving states at steps 5, 10, 15 and 20."""
    for step in (5, 10, 15, 20):
        save(tmp_path / "state", step, {"weights": {"w": torch.full((100,), step + 0.5)}, "names": ["loss"]})
    return tmp_path / "state"


def truncate(folder, step: int, size: int) -> None:
    os.truncate(folder / f"{step:09d}" / "state.pt", size)


def test_newest_two_states_are_stored_and_the_newest_is_loaded(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["000000015", "000000020"]
    saved = load_newest(folder)
    assert saved["step"] == 20 and saved["names"] == ["loss"]
    assert torch.equal(saved["weights"]["w"], torch.full((100,), 20.5))


def test_a_state_that_cannot_be_removed_does_not_stop_the_training(folder, monkeypatch):
    """NFS keeps the files of a removed folder that another process has open."""

    def rmdir(path, **_):
        raise OSError(errno.ENOTEMPTY, "Directory not empty", path)

    with monkeypatch.context() as context:
        context.setattr(os, "rmdir", rmdir)
        save(folder, 25, {"weights": {}})
    assert load_newest(folder)["step"] == 25 and saved_steps(folder) == [15, 20, 25]
    save(folder, 30, {"weights": {}})
    assert saved_steps(folder) == [25, 30]


@pytest.mark.parametrize("content", [None, [1], {"step": "x"}, {"weights": {}}])
def test_content_that_is_no_state_is_damaged(content, folder, capsys):
    file = folder / "000000020" / "state.pt"
    torch.save(content, file)
    write_json(file.with_name("digest.json"), {"state.pt": file_digest(file)})
    assert load_newest(folder)["step"] == 15
    assert "it is not a training state" in capsys.readouterr().err


def test_missing_folder_loads_as_none(tmp_path):
    assert load_newest(tmp_path / "state") is None


@pytest.mark.parametrize("size", [0, 10, 500, 1500])
def test_truncated_state_falls_back_to_the_one_before(size, folder, capsys):
    truncate(folder, 20, size)
    assert load_newest(folder)["step"] == 15
    message = capsys.readouterr().err
    assert message.startswith("warning: ") and "000000020/state.pt cannot be read" in message
    assert message.count("\n") == 1


def test_missing_state_file_falls_back_to_the_one_before(folder):
    (folder / "000000020" / "state.pt").unlink()
    assert load_newest(folder)["step"] == 15


def test_flipped_bit_falls_back_to_the_one_before(folder):
    file = folder / "000000020" / "state.pt"
    content = bytearray(file.read_bytes())
    offset = content.index(torch.tensor([20.5]).numpy().tobytes())
    content[offset] ^= 1
    file.write_bytes(content)
    assert load_newest(folder)["step"] == 15


def test_state_that_would_execute_code_falls_back_to_the_one_before(folder):
    torch.save({"step": 20, "code": UserError}, folder / "000000020" / "state.pt")
    assert load_newest(folder)["step"] == 15


def test_error_if_no_state_is_readable(folder):
    truncate(folder, 15, 100)
    truncate(folder, 20, 100)
    with pytest.raises(UserError, match=r"state: no saved state can be read; restore it, or remove .* to train"):
        load_newest(folder)


@pytest.mark.parametrize("error", [OSError(n, "") for n in (errno.EACCES, errno.EIO, errno.ESTALE)])
def test_errors_of_the_disk_are_not_taken_for_damage(error, folder, monkeypatch, capsys):
    """Otherwise the message would advise to remove intact states."""

    def file_digest(_):
        raise error

    monkeypatch.setattr(state, "file_digest", file_digest)
    with pytest.raises(type(error)) as raised:
        load_newest(folder)
    assert raised.value is error and not capsys.readouterr().err


def test_partial_folder_of_a_killed_process_is_ignored(folder):
    (folder / ".partial-000000025-0a1b2c3d").mkdir()
    assert load_newest(folder)["step"] == 20 and saved_steps(folder) == [15, 20]


def test_saving_the_same_step_again_keeps_the_state_intact(folder):
    """A run that resumed from an older state does this."""
    save(folder, 20, {"weights": {"w": torch.full((100,), 20.5)}, "names": ["loss"]})
    assert load_newest(folder)["step"] == 20 and saved_steps(folder) == [15, 20]


def test_an_intact_state_replaces_a_damaged_one_of_its_step(folder):
    """Otherwise the run, which resumed from the state before, would not keep its newest state."""
    truncate(folder, 20, 100)
    save(folder, 20, {"names": ["new"]})
    assert load_newest(folder)["names"] == ["new"] and saved_steps(folder) == [15, 20]


def test_a_state_that_cannot_be_read_is_kept(folder, monkeypatch):
    def check(_):
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as context:
        context.setattr(state, "check", check)
        save(folder, 20, {"names": ["new"]})
    assert load_newest(folder)["names"] == ["loss"]
