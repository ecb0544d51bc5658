"""Export to and import from improved-diffusion's files, and training that starts from them."""

import weakref
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from configs.errors import UserError
from models import improved_diffusion
from models.improved_diffusion import export_checkpoint, import_folder, left_out, main
from models.open import open_checkpoint
from records import checkpoint, lock, run_lock
from records.layout import SeedFolder, saved_steps, seed_folder
from train.trainer import train


@pytest.fixture
def theirs(with_checkpoints, tmp_path):
    """Return a folder with the files of steps 0 and 5 of improved-diffusion."""
    for step in (0, 5):
        export_checkpoint(seed_folder(with_checkpoints(), 0).checkpoint(step), tmp_path / "out")
    return tmp_path / "out"


def content(folder: SeedFolder) -> dict[Path, tuple[int, bytes]]:
    """Return the files of a run folder except its lock, with their inodes."""
    files = [file for file in folder.root.rglob("*") if file.is_file() and file != folder.lock]
    return {file: (file.stat().st_ino, file.read_bytes()) for file in files}


def test_exported_files_have_the_expected_names_and_all_tensors(with_checkpoints, tmp_path):
    folder = seed_folder(with_checkpoints(), 0)
    files = export_checkpoint(folder.checkpoint(5), tmp_path / "out")
    assert sorted(file.name for file in files) == ["ema_0.99_000005.pt", "model000005.pt"]
    content = torch.load(tmp_path / "out" / "model000005.pt", weights_only=True)
    expected = load_file(folder.checkpoint(5) / "model.safetensors")
    assert content.keys() == expected.keys() and all(torch.equal(content[key], expected[key]) for key in expected)


def test_import_restores_the_exported_checkpoints(with_checkpoints, tiny, tmp_path):
    folder = seed_folder(with_checkpoints(), 0)
    for step in (0, 5):
        export_checkpoint(folder.checkpoint(step), tmp_path / "out")
    imported = tiny("name=imported")
    paths = import_folder(imported, tmp_path / "out")
    assert [path.name for path in paths] == ["000000000", "000000005"]
    for path in paths:
        for name in ("model", "ema_0.99"):
            before = checkpoint.read(folder.checkpoints / path.name).weights(name)
            after = checkpoint.read(path).weights(name)
            assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_a_second_import_of_other_files_is_refused_and_writes_nothing(theirs, tiny):
    """Its config.yaml would describe checkpoints that the folder does not contain."""
    import_folder(tiny("name=imported"), theirs)
    before = content(folder := seed_folder(tiny("name=imported"), 0))
    with pytest.raises(UserError, match=r"000000000 was not written from these files .*; give .* another name="):
        import_folder(tiny("name=imported", "model.dropout=0.2"), theirs)
    weights = torch.load(theirs / "model000005.pt", weights_only=True)
    torch.save({name: tensor + 1 for name, tensor in weights.items()}, theirs / "model000005.pt")
    with pytest.raises(UserError, match="000000005 was not written from"):
        import_folder(tiny("name=imported"), theirs)
    for file in theirs.glob("*5.pt"):
        file.unlink()
    with pytest.raises(UserError, match="000000005 was not written from"):
        import_folder(tiny("name=imported"), theirs)
    assert content(folder) == before


@pytest.mark.parametrize("name", ["train.jsonl", "state/000000005/state.pt"])
def test_a_training_is_not_overwritten(name, theirs, tiny):
    folder = seed_folder(tiny("name=trained"), 0)
    (folder.root / name).parent.mkdir(parents=True)
    (folder.root / name).touch()
    before = content(folder)
    with pytest.raises(UserError, match="trained/seed_0 contains a training; give the experiment another name="):
        import_folder(tiny("name=trained"), theirs)
    assert content(folder) == before


def test_an_import_into_a_folder_in_use_is_refused(theirs, tiny, monkeypatch):
    monkeypatch.setattr(run_lock, "TIMEOUT_S", 0.0)
    folder = seed_folder(tiny("name=busy"), 0)
    with lock.hold(folder.lock, "training, process 1", 0), pytest.raises(UserError, match=r"in use .* process 1$"):
        import_folder(tiny("name=busy"), theirs)
    assert content(folder) == {}


def test_an_interrupted_import_is_resumed(theirs, tiny):
    """The schedule may have been corrected since."""
    later = theirs.parent / "later"
    later.mkdir()
    for file in theirs.glob("*5.pt"):
        file.rename(later / file.name)
    folder = seed_folder(tiny("name=imported"), 0)
    partial = folder.checkpoints / ".partial-000000005-0a1b2c3d"  # left by a process that was killed
    partial.mkdir(parents=True)
    import_folder(tiny("name=imported"), theirs)
    assert not partial.exists()
    before = {file: kept for file, kept in content(folder).items() if folder.checkpoints in file.parents}
    for file in later.iterdir():
        file.rename(theirs / file.name)
    import_folder(tiny("name=imported", "train.checkpoints.at=[0,7]"), theirs)
    assert saved_steps(folder.checkpoints) == [0, 5] and "- 7" in folder.config.read_text()
    assert len(before) == 3 and before.items() <= content(folder).items()


def test_one_step_is_in_memory_at_a_time(theirs, tiny, monkeypatch):
    """A run has hundreds of files of hundreds of MB."""
    read, loaded, steps = improved_diffusion.read_state_dict, [], []

    def count(file: Path) -> dict[str, torch.Tensor]:
        weights = read(file)
        steps.append({step for step, tensor in loaded if tensor() is not None} | {file.stem[-1]})
        loaded.extend((file.stem[-1], weakref.ref(tensor)) for tensor in weights.values())
        return weights

    monkeypatch.setattr(improved_diffusion, "read_state_dict", count)
    import_folder(tiny("name=imported"), theirs)
    assert {len(each) for each in steps} == {1} and {"0", "5"} == set.union(*steps)


def test_files_of_another_network_are_refused_before_anything_is_written(theirs, tiny):
    experiment = tiny("name=imported", "model.model_channels=8")
    with pytest.raises(UserError, match="does not fit the network"):
        import_folder(experiment, theirs)
    assert not seed_folder(experiment, 0).root.exists()


def test_steps_off_the_schedule_are_named(with_checkpoints, tmp_path, command_line, capsys):
    source = seed_folder(with_checkpoints(), 0)
    for step in (0, 5):
        export_checkpoint(source.checkpoint(step), tmp_path / "out")
    (tmp_path / "out" / "model000005.pt").rename(tmp_path / "out" / "model000015.pt")
    config, *options = command_line(tmp_path, "name=imported")
    main([config, str(tmp_path / "out"), *options])
    assert "1 of 3 checkpoints are not in the experiment's schedule" in (warning := capsys.readouterr().err)
    assert "set train.steps=15 'train.checkpoints.strides=[{every: 5}]'" in warning
    main([config, str(tmp_path / "out"), *options, "train.steps=15", "train.checkpoints.strides=[{every: 5}]"])
    assert capsys.readouterr().err == ""


def test_schedule_that_ends_later_is_named(tiny):
    assert left_out(tiny(), [0, 2, 5, 8]) == ""
    assert "ends at step 8, so the analysis is preliminary; set train.steps=5 " in left_out(tiny(), [0, 5])


def test_imported_checkpoints_are_not_trained(with_checkpoints, tiny, tmp_path):
    export_checkpoint(seed_folder(with_checkpoints(), 0).checkpoint(5), tmp_path / "out")
    imported = tiny("name=imported")
    import_folder(imported, tmp_path / "out")
    with pytest.raises(UserError, match=r"imported/seed_0 is trained to step 5 and has no training state"):
        train(imported)


def test_imported_network_gives_the_same_output(trained32, relative_error, tiny, tmp_path):
    """The trained network of tests/reference is saved like their files, imported and opened."""
    torch.save(trained32.network.state_dict(), tmp_path / "ema_0.9999_000500.pt")
    model = trained32.network.config
    overrides = [f"model.{name}={'null' if value is None else value}" for name, value in vars(model).items()]
    experiment = tiny(
        *overrides, "name=imported", "data.name=cifar10", "train.ema_rates=[0.9999]", "analyze.weights=model"
    )
    (path,) = import_folder(experiment, tmp_path)
    denoiser = open_checkpoint(path, "ema_0.9999", torch.device("cpu"))
    x_T = trained32["x_T"]
    assert relative_error(denoiser.output(x_T, 2000), trained32.denoiser.output(x_T, 2000)) == 0


def test_training_starts_from_init_from(with_checkpoints, tiny, tmp_path):
    folder = seed_folder(with_checkpoints(), 0)
    export_checkpoint(folder.checkpoint(5), tmp_path / "out")
    for source in (folder.checkpoint(5), tmp_path / "out" / "model000005.pt"):
        experiment = tiny(f"name=from-{source.suffix[1:]}-{source.parent.name}", f"train.init_from={source}")
        train(experiment)
        initial = load_file(seed_folder(experiment, 0).checkpoint(0) / "model.safetensors")
        expected = load_file(folder.checkpoint(5) / "model.safetensors")
        assert all(torch.equal(initial[key], expected[key]) for key in expected)
