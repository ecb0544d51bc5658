"""The lock of a run folder: what killed processes left is removed once it is held."""

import pytest

from configs.errors import UserError
from records import run_lock
from records.layout import SeedFolder
from records.run_lock import hold_run


@pytest.fixture
def folder(tmp_path):
    return SeedFolder(tmp_path / "seed_0")


def test_partial_checkpoints_and_states_of_killed_processes_are_removed(folder):
    partial = [parent / ".partial-000000025-0a1b2c3d" for parent in (folder.checkpoints, folder.state)]
    for path in partial:
        path.mkdir(parents=True)
    with hold_run(folder, "training"):
        assert not any(path.exists() for path in partial)


def test_a_folder_in_use_keeps_its_partial_checkpoints(folder, monkeypatch):
    """The other process is writing them."""
    monkeypatch.setattr(run_lock, "TIMEOUT_S", 0.0)
    partial = folder.checkpoints / ".partial-000000025-0a1b2c3d"
    with hold_run(folder, "training"):
        partial.mkdir(parents=True)
        with pytest.raises(UserError, match=r"seed_0 is in use by another process: training, "), hold_run(folder, "x"):
            pass
        assert partial.exists()
