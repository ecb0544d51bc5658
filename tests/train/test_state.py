"""States to resume from: the newest two are kept, and a damaged one is not the end."""

import os

import pytest
import torch

from configs.errors import UserError
from records.layout import saved_steps
from train.state import load_newest, save

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """A folder to which states were saved after 5, 10, 15 and 20 steps."""
    for step in (5, 10, 15, 20):
        save(tmp_path / "state", step, {"weights": {"w": torch.full((100,), step + 0.5)}, "names": ["loss"]})
    return tmp_path / "state"


def cut_off(folder, step: int, left: int) -> None:
    os.truncate(folder / f"{step:09d}" / "state.pt", left)


def test_the_newest_two_are_kept_and_the_newest_comes_back(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["000000015", "000000020"]
    saved = load_newest(folder, CPU)
    assert saved["step"] == 20 and saved["names"] == ["loss"]
    assert torch.equal(saved["weights"]["w"], torch.full((100,), 20.5))


def test_processes_without_gpus_have_numbered_devices_and_resume_too(folder):
    assert load_newest(folder, torch.device("cpu", 1))["step"] == 20


def test_nothing_saved_is_nothing_to_resume(tmp_path):
    assert load_newest(tmp_path / "state", CPU) is None


@pytest.mark.parametrize("left", [0, 10, 500, 1500])
def test_a_damaged_state_falls_back_to_the_one_before(left, folder, capsys):
    cut_off(folder, 20, left)
    assert load_newest(folder, CPU)["step"] == 15
    said = capsys.readouterr().err
    assert said.startswith("warning: ") and "000000020/state.pt cannot be read" in said and said.count("\n") == 1


def test_a_state_without_its_file_falls_back_too(folder):
    (folder / "000000020" / "state.pt").unlink()
    assert load_newest(folder, CPU)["step"] == 15


def test_a_bit_that_is_wrong_falls_back_too(folder):
    file = folder / "000000020" / "state.pt"
    content = bytearray(file.read_bytes())
    place = content.index(torch.tensor([20.5]).numpy().tobytes())
    content[place] ^= 1
    file.write_bytes(content)
    assert load_newest(folder, CPU)["step"] == 15


def test_what_would_run_code_is_not_read(folder):
    """Nor does it end the reading of the others."""
    torch.save({"step": 20, "code": UserError}, folder / "000000020" / "state.pt")
    assert load_newest(folder, CPU)["step"] == 15


def test_no_readable_state_is_for_the_user_to_decide(folder):
    cut_off(folder, 15, 100)
    cut_off(folder, 20, 100)
    with pytest.raises(UserError, match=r"state: none of the saved states can be read; remove the folder"):
        load_newest(folder, CPU)


def test_what_a_dead_process_was_writing_is_cleared(folder):
    (folder / ".partial-000000025-0a1b2c3d").mkdir()
    assert load_newest(folder, CPU)["step"] == 20
    assert [path.name for path in sorted(folder.iterdir())] == ["000000015", "000000020"]
    assert saved_steps(folder) == [15, 20]


def test_saving_a_step_again_leaves_it_whole(folder):
    """As a run that was resumed before a state does."""
    save(folder, 20, {"weights": {"w": torch.full((100,), 20.5)}, "names": ["loss"]})
    assert load_newest(folder, CPU)["step"] == 20 and saved_steps(folder) == [15, 20]
