"""The command python -m models.export."""

import pytest

from configs.errors import UserError
from models.export.__main__ import main
from records.layout import seed_folder


@pytest.fixture
def checkpoint(with_checkpoints) -> str:
    """Path of a checkpoint folder."""
    return str(seed_folder(with_checkpoints(), 0).checkpoint(5))


def test_both_formats_are_written_and_listed(checkpoint, tmp_path, capsys):
    main([checkpoint, "--to", "diffusers", str(tmp_path / "pipeline")])
    main([checkpoint, "--to", "improved-diffusion", str(tmp_path / "files")])
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "pipeline"),
        str(tmp_path / "files" / "model000005.pt"),
        str(tmp_path / "files" / "ema_0.99_000005.pt"),
    ]
    assert (tmp_path / "pipeline" / "model_index.json").exists()


def test_one_set_of_weights_is_exported_to_improved_diffusion(checkpoint, tmp_path, capsys):
    main([checkpoint, "--to", "improved-diffusion", str(tmp_path / "files"), "--weights", "model"])
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["model000005.pt"]


def test_a_sampler_applies_only_to_diffusers(checkpoint, tmp_path):
    with pytest.raises(UserError, match="--sampler applies only to --to diffusers"):
        main([checkpoint, "--to", "improved-diffusion", str(tmp_path / "files"), "--sampler", "ddpm"])
