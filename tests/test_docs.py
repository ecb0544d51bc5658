"""Examples in the documentation work, and its lists are complete."""

import re
import subprocess
from dataclasses import fields, is_dataclass
from typing import get_type_hints

import pytest
import torch

from analyze.measures import MEASURES, Measure
from analyze.report.metrics import ANALYSIS, METRICS
from analyze.report.wandb_dashboard import SECTIONS
from configs.schema import Measures
from models.openai_presets import PRESETS


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_example_of_a_measure_works(repository, tmp_path, monkeypatch):
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
    """Every metric of the catalog, every value of a measure and every key on the dashboard."""
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = {key for panels in SECTIONS.values() for panel in panels for key in panel.keys} | METRICS.keys()
    for measure in MEASURES:
        result = get_type_hints(measure.function)["return"]
        values = fields(result) if is_dataclass(result) else ()
        names |= {f"{measure.name}/{field.name}" for field in values if field.type in (float, float | None)}
    assert len(names) > 80 and sorted(name for name in names if f"`{name}`" not in text) == []


def test_every_documented_measure_value_is_in_the_catalog(repository):
    text = (repository / "docs" / "metrics.md").read_text(encoding="utf-8")
    names = {name for name in re.findall(r"`(\w+/\w+)`", text) if name.partition("/")[0] not in ("pictures", "tables")}
    assert names == {metric.key for metric in ANALYSIS}


def listed_files(tree: str) -> set[str]:
    """Return the paths of the files in a tree of two blanks of indentation per level, in which folders end in "/"."""
    folders, files = [], set()
    for line in tree.splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        folders = [*folders[:depth], name]
        if not name.endswith("/"):
            files.add("".join(folders))
    return files


def test_the_tree_of_the_readme_names_every_file(repository):
    if not (repository / ".git").exists():
        pytest.skip("not a git checkout")
    packages = ("configs", "records", "diffusion", "models", "train", "analyze", "launch")
    tracked = subprocess.run(["git", "ls-files", *packages], cwd=repository, capture_output=True, text=True, check=True)
    files = {file for file in tracked.stdout.splitlines() if not file.endswith(("__init__.py", "__main__.py"))}
    (tree,) = code_blocks((repository / "README.md").read_text(encoding="utf-8"), "text")
    assert len(files) > 100 and listed_files(tree) == files
