"""Run folders: what killed trainings left is removed when the folder is opened."""

from records.layout import seed_folder
from train.run_folder import open_run_folder


def test_partial_checkpoints_and_states_of_killed_trainings_are_removed(tiny):
    folder = seed_folder(tiny(), 0)
    partial = [parent / ".partial-000000025-0a1b2c3d" for parent in (folder.checkpoints, folder.state)]
    for path in partial:
        path.mkdir(parents=True)
    open_run_folder(folder, tiny())
    assert not any(path.exists() for path in partial)
