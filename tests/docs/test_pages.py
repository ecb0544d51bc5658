"""The documentation builds without warnings and works offline, and the notebook reads an exported table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbconvert.preprocessors import ExecutePreprocessor

from analyze.report.export import export
from configs.load import options
from configs.schema import Experiment, ModelStudy

REPOSITORY = Path(__file__).parent.parent.parent
LINK = re.compile(r"\[[^\]]+\]\(([^)#:\s]+)(?:#[^)]*)?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "--quiet", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    return folder


def test_pages_load_nothing_from_the_network(site):
    external = re.compile(
        r"""<(?:script|img|iframe|link(?![^>]*rel="?canonical))[^>]*(?:src|href)=["']?(?:https?:)?//"""
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > 15 and [page.name for page in pages if external.search(page.read_text(encoding="utf-8"))] == []


def test_no_page_is_wider_than_a_phone(site, visit):
    page = visit(site / "index.html", viewport={"width": 360, "height": 740}).page
    too_wide = []
    for file in site.rglob("*.html"):
        page.goto(file.as_uri())
        if page.evaluate("document.documentElement.scrollWidth") > 360:
            too_wide.append(file.name)
    assert too_wide == []


@pytest.mark.parametrize("kind", [Experiment, ModelStudy])
def test_every_option_is_documented(site, kind):
    page = (site / "options.html").read_text(encoding="utf-8")
    assert [key for key, _ in options(kind) if f"<code>{key}</code>" not in page] == []


def test_every_benchmark_result_has_a_page(site):
    numbers = (site / "numbers.html").read_text(encoding="utf-8")
    results = [file.stem for file in (REPOSITORY / "benchmarks" / "results").glob("*.md")]
    assert results and [name for name in results if f'href="benchmarks/{name}.html"' not in numbers] == []


@pytest.mark.parametrize("notebook, page", [("curves", "curves.html"), ("library", "library_example.html")])
def test_notebook_page_shows_its_figure(notebook, page, site):
    html = (site / page).read_text(encoding="utf-8")
    assert f'src="{notebook}' in html and "Warning" not in html
    assert list(site.glob(f"{notebook}_*.png"))


def test_notebook_reads_an_exported_table(analyzed, tmp_path):
    notebook = nbformat.read(REPOSITORY / "docs" / "curves.ipynb", as_version=4)
    export(analyzed(), tmp_path / "digits.csv")
    ExecutePreprocessor(timeout=120).preprocess(notebook, {"metadata": {"path": tmp_path}})
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", []) if "data" in output]
    assert [kind for output in outputs for kind in output["data"] if kind in ("text/html", "image/png")] == [
        "text/html",
        "image/png",
    ]


@pytest.mark.parametrize(
    "page", [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")], ids=lambda page: page.name
)
def test_links_lead_to_files_of_the_repository(page):
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
