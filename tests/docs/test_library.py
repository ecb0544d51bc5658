"""Examples in Python work, and the documented imports exist."""

import importlib
import re
import shutil
from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

from models.export.__main__ import main
from records.layout import seed_folder

DOCS = Path(__file__).parent.parent.parent / "docs"


def example(page: str) -> str:
    """Return the only Python code of a page."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return code


@pytest.fixture
def demo(with_checkpoints, tmp_path, monkeypatch):
    """Checkpoint 100 of the demo with random weights, at the path that the pages show, in the current folder."""
    experiment = with_checkpoints("train.steps=100", "train.checkpoints.at=[50]")
    shown = Path("runs/digits/seed_0/checkpoints/000000100")
    shutil.copytree(seed_folder(experiment, 0).checkpoint(100), tmp_path / "work" / shown)
    monkeypatch.chdir(tmp_path / "work")
    return shown


def test_the_example_of_the_library_works_and_is_short(demo, capsys):
    code = example("library.md")
    lines = [line for line in code.splitlines() if line]
    assert len(lines) < 20
    exec(code, {})
    angle, accuracy, error = map(float, capsys.readouterr().out.split())
    assert 0 <= angle <= 180 and 0 <= accuracy <= 1 and error >= 0


def test_the_example_of_the_export_works(demo, capsys):
    main([str(demo), "--to", "diffusers", "exported/digits"])
    variables: dict = {}
    exec(example("export.md"), variables)
    assert [image.size for image in variables["images"]] == 4 * [(8, 8)]


def test_the_documented_imports_exist():
    text = (DOCS / "library.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([\w.]+)` \|", text, re.MULTILINE)
    missing = [f"{module}.{name}" for name, module in rows if not hasattr(importlib.import_module(module), name)]
    assert len(rows) > 10 and missing == []
    imported = re.findall(r"^from ([\w.]+) import (\w+)$", example("library.md"), re.MULTILINE)
    assert len(imported) > 5 and set(imported) <= {(module, name) for name, module in rows}


def test_the_notebook_shows_numbers_and_pictures():
    notebook = nbformat.read(DOCS / "library.ipynb", as_version=4)
    computation = next(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert len([line for line in computation.splitlines() if line]) < 20
    ExecutePreprocessor(timeout=300).preprocess(notebook, {"metadata": {"path": DOCS}})
    data = [output.data for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert "NoiseMapping(image_to_noise=1.0" in data[0]["text/plain"]
    assert "fixed point" in data[1]["text/html"] and "image/png" in data[2]
