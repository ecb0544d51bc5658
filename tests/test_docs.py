"""What the documentation shows works as it is written there."""

import re
from dataclasses import fields
from typing import get_type_hints

import torch

from analyze.measures import MEASURES, Measure
from analyze.report.wandb_dashboard import SECTIONS
from configs.schema import Measures
from models.openai_presets import PRESETS


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_the_example_of_a_measure_is_one(repository, tmp_path, monkeypatch):
    (code,) = code_blocks((repository / "docs" / "measures.md").read_text(encoding="utf-8"), "python")
    (tmp_path / "brightness.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    from brightness import brightness

    measure = Measure(brightness)
    assert measure.name == "brightness" and measure.inputs == ["samples"] and not measure.needs_last
    values = measure.values({"samples": torch.tensor([0.5, -0.5])[:, None, None, None].expand(2, 3, 4, 4)}, Measures())
    assert values["mean"] == 0 and abs(values["std"] - 0.5**0.5) < 1e-12


def test_every_measure_is_documented(repository):
    text = (repository / "docs" / "measures.md").read_text(encoding="utf-8")
    assert [measure.name for measure in MEASURES if f"`{measure.name}`" not in text] == []


def test_every_published_file_is_documented(repository):
    text = (repository / "docs" / "models.md").read_text(encoding="utf-8")
    assert [name for name in PRESETS if f"`{name}`" not in text] == []


def test_every_name_in_wandb_is_documented(repository):
    """What measures can find and what the dashboard shows; what training logs is tested with the training."""
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = {key for panels in SECTIONS.values() for panel in panels for key in panel.keys}
    for measure in MEASURES:
        found = fields(get_type_hints(measure.function)["return"])
        names |= {f"{measure.name}/{field.name}" for field in found if field.type is float}
    assert len(names) > 80 and sorted(name for name in names if f"`{name}`" not in text) == []


def test_the_tree_of_the_readme_names_every_file(repository):
    """Of the rooms: a newcomer finds anything in one guess."""
    text = (repository / "README.md").read_text(encoding="utf-8")
    rooms = ("configs", "records", "diffusion", "train", "launch", "analyze")
    files = [file for room in rooms for file in (repository / room).glob("*.py") if not file.name.startswith("__")]
    assert [str(file.relative_to(repository)) for file in files if file.name not in text] == []
