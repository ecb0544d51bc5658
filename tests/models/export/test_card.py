"""Model cards: front matter, code that runs, provenance."""

import re
from dataclasses import asdict

import pytest
import torch
import yaml

from models.export.card import WEIGHTS_FILE
from models.export.pipeline import export_pipeline
from records.atomic import file_digest
from records.layout import seed_folder


@pytest.fixture
def exported(with_checkpoints, tmp_path):
    """Return a function that exports checkpoint 5 of an experiment, and returns the folder and its card."""

    def export(*overrides: str, sampler: str = "ddim"):
        experiment = with_checkpoints("name=mine", "diffusion.steps=1000", *overrides)
        run = seed_folder(experiment, 0)
        run.config.write_text(yaml.safe_dump(asdict(experiment)))
        folder = export_pipeline(run.checkpoint(5), tmp_path / "exported", sampler=sampler)
        return folder, (folder / "README.md").read_text(encoding="utf-8")

    return export


def code_block(card: str, language: str) -> str:
    (code,) = re.findall(rf"^```{language}\n(.*?)^```$", card, re.DOTALL | re.MULTILINE)
    return code


def test_the_front_matter_is_that_of_the_hub(exported):
    _, card = exported()
    _, front_matter, text = card.split("---\n", 2)
    assert yaml.safe_load(front_matter) == {
        "library_name": "diffusers",
        "license": "unknown",
        "tags": ["unconditional-image-generation", "ddim", "noisemap"],
    }
    assert text.startswith("\n# mine\n") and "**License: not chosen yet.**" in text


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("classes", ["null", "3"])
def test_the_code_of_the_card_works(sampler, classes, exported):
    folder, card = exported(f"model.num_classes={classes}", sampler=sampler)
    code = code_block(card, "python").replace("USER/NAME", str(folder)).replace("1000", "10")
    variables: dict = {}
    exec(code, variables)
    images = variables["images"]
    assert len(images) == 4
    if classes != "null":
        assert images.shape == (4, 1, 8, 8) and images.isfinite().all()
        assert torch.equal(variables["labels"], torch.tensor([0, 1, 2, 0]))


def test_the_card_names_the_origin_of_the_weights(exported):
    folder, card = exported()
    source = folder.parent / "runs" / "mine" / "seed_0" / "checkpoints" / "000000005"
    for row in (
        "| training step | 5 |",
        "| seed | 0 |",
        "| weights | ema_0.99 |",
        f"`{file_digest(source / 'ema_0.99.safetensors')}`",
        f"`{file_digest(folder / WEIGHTS_FILE)}`",
    ):
        assert row in card


def test_the_card_lists_the_options_of_the_training_without_those_of_the_machine(exported, tmp_path):
    _, card = exported("train.lr=0.003", "wandb.entity=secret", "cluster.account=secret")
    options = yaml.safe_load(code_block(card, "yaml"))
    assert options["train"]["lr"] == 0.003 and options["model"]["image_size"] == 8
    assert options["diffusion"]["steps"] == 1000
    assert "secret" not in card and str(tmp_path) not in card


def test_another_config_yaml_is_ignored(with_checkpoints, tmp_path):
    (tmp_path / "config.yaml").write_text("key: value")
    (tmp_path / "folder").mkdir()
    checkpoint = (
        seed_folder(with_checkpoints("diffusion.steps=1000"), 0).checkpoint(5).rename(tmp_path / "folder" / "5")
    )
    card = (export_pipeline(checkpoint, tmp_path / "exported") / "README.md").read_text()
    assert "those of the training are unknown" in card


def test_the_training_of_a_checkpoint_outside_of_its_run_folder_is_unknown(with_checkpoints, tmp_path):
    checkpoint = seed_folder(with_checkpoints("diffusion.steps=1000"), 0).checkpoint(5).rename(tmp_path / "5")
    card = (export_pipeline(checkpoint, tmp_path / "exported") / "README.md").read_text()
    assert "# Diffusion model\n" in card and "those of the training are unknown" in card
    assert yaml.safe_load(code_block(card, "yaml")).keys() == {"model", "diffusion"}
