"""Weights go to improved-diffusion's files and come back as they were, and can be started from."""

import torch
from safetensors.torch import load_file

from models.open import open_checkpoint
from records import checkpoint
from records.layout import seed_folder
from train.improved_diffusion import export, import_folder
from train.trainer import train


def test_exported_files_have_its_names_and_every_tensor(as_if_trained, tmp_path):
    folder = seed_folder(as_if_trained(), 0)
    written = export(folder.checkpoint(5), tmp_path / "out")
    assert [file.name for file in written] == ["ema_0.99_000005.pt", "model000005.pt"] or [
        file.name for file in written
    ] == ["model000005.pt", "ema_0.99_000005.pt"]
    content = torch.load(tmp_path / "out" / "model000005.pt", weights_only=True)
    ours = load_file(folder.checkpoint(5) / "model.safetensors")
    assert content.keys() == ours.keys() and all(torch.equal(content[key], ours[key]) for key in ours)


def test_imported_files_are_the_checkpoints_that_were_exported(as_if_trained, tiny, tmp_path):
    folder = seed_folder(as_if_trained(), 0)
    for step in (0, 5):
        export(folder.checkpoint(step), tmp_path / "out")
    theirs = tiny("name=theirs")
    paths = import_folder(theirs, tmp_path / "out")
    assert [path.name for path in paths] == ["000000000", "000000005"]
    for path in paths:
        for name in ("model", "ema_0.99"):
            before = checkpoint.read(folder.checkpoints / path.name).weights(name)
            after = checkpoint.read(path).weights(name)
            assert before.keys() == after.keys() and all(torch.equal(before[key], after[key]) for key in before)


def test_a_run_of_theirs_predicts_the_noise_that_it_did_there(trained32, relative_error, tiny, tmp_path):
    """The trained network of tests/reference, saved as their files are, imported, opened."""
    torch.save(trained32.network.state_dict(), tmp_path / "ema_0.9999_000500.pt")
    model = trained32.network.config
    overrides = [f"model.{name}={'null' if value is None else value}" for name, value in vars(model).items()]
    experiment = tiny(
        *overrides, "name=theirs", "data.name=cifar10", "train.ema_rates=[0.9999]", "analyze.weights=model"
    )
    (path,) = import_folder(experiment, tmp_path)
    denoiser = open_checkpoint(checkpoint.read(path), "ema_0.9999", torch.device("cpu"))
    x_T = trained32["x_T"]
    assert relative_error(denoiser.output(x_T, 2000), trained32.denoiser.output(x_T, 2000)) == 0


def test_training_starts_from_foreign_weights(as_if_trained, tiny, tmp_path):
    folder = seed_folder(as_if_trained(), 0)
    export(folder.checkpoint(5), tmp_path / "out")
    for source in (folder.checkpoint(5), tmp_path / "out" / "model000005.pt"):
        experiment = tiny(f"name=from-{source.suffix[1:]}-{source.parent.name}", f"train.init_from={source}")
        train(experiment)
        started = load_file(seed_folder(experiment, 0).checkpoint(0) / "model.safetensors")
        ours = load_file(folder.checkpoint(5) / "model.safetensors")
        assert all(torch.equal(started[key], ours[key]) for key in ours)
