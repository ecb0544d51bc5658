"""Pages of studies whose options and files contain markup, quotes, formulas, line breaks and direction marks."""

import copy
import json
import shutil

import pytest

from analyze.analysis import SeedAnalysis
from analyze.model import analyze_model
from analyze.report import model
from analyze.report.comparison import write_comparison
from analyze.report.page.blocks import (
    Gallery,
    Grid,
    Listing,
    Notes,
    Page,
    Picture,
    Section,
    Subheading,
    Text,
    Track,
    Viewer,
    render,
)
from analyze.report.study import collect
from analyze.report.table_formats import Column, Table, TableRow, Value, to_latex, to_markdown
from configs.errors import UserError
from records.layout import report_folder
from records.sealed import read_sealed, write_sealed

SCRIPT = "window.executed = true"
HOSTILE = [
    f"<script>{SCRIPT}</script>",
    f"<img src=x onerror='{SCRIPT}'>",
    f'" onmouseover="{SCRIPT}" x="',
    f"' onfocus='{SCRIPT}' autofocus '",
    f"</title></style></textarea></pre></svg><svg onload={SCRIPT}>",
    f"--><script>{SCRIPT}</script><!--",
    f"]]><script>{SCRIPT}</script>",
    "javascript:" + SCRIPT,
    "{{ 7 * 7 }}{% raw %}",
    r"$\frac{$ \input{/etc/passwd} 100 % & # ~ ^",
    "\u202egnp.exe\u202c \u2066 \u200f",
    "two\nlines\r\nand\ttab\0\x1b[31m\x07",
    "_hidden",
    "é" * 300 + " 漢字 🙂",
]
EVERYTHING = " | ".join(HOSTILE)
FORBIDDEN = ("\u202e", "\u2066", "\0", "\x1b")  # replaced, because they change the order of other text
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACw="


def is_harmless(visited) -> bool:
    """Return whether nothing was executed or requested, and no element takes part in the texts."""
    page = visited.page
    for element in page.locator("summary").all():
        element.click()
    assert visited.messages == [] and all(url.startswith(("file:", "data:")) for url in visited.requests)
    assert page.evaluate("window.executed") is None
    handlers = "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()).filter(n => n.startsWith('on'))"
    assert page.evaluate(handlers) == [] and page.locator("img[src=x]").count() == 0
    assert not any(character in page.content() for character in FORBIDDEN)
    return page.locator("script").count() == 1


@pytest.mark.parametrize("text", [*HOSTILE, EVERYTHING])
def test_blocks_show_any_text(text, visit, tmp_path):
    picture = Picture(PIXEL, text)
    blocks = [
        Text(text),
        Notes([text]),
        Subheading(text),
        Gallery(picture, text),
        Viewer("viewer", text, [text, text], [Track(text, [picture, picture], [text, text], [0, 1])]),
        Grid(text, [text, "value"], [[text, text]], text, sortable=True),
        Listing(text, text),
    ]
    file = tmp_path / "page.html"
    file.write_text(render(Page(text, text, [text], [Section("s", text, blocks, text)], text)), encoding="utf-8")
    visited = visit(file)
    assert is_harmless(visited)
    shown = "".join("\N{REPLACEMENT CHARACTER}" if not c.isprintable() and c not in "\n\t" else c for c in text)
    assert visited.page.locator("pre").text_content() == shown
    visited.page.locator("th button").first.click()
    assert is_harmless(visited)


@pytest.fixture
def hostile_study(analyzed):
    """Return a function that returns an analyzed study with hostile texts in options and results."""

    def prepare(text):
        experiment = analyzed()
        experiment.wandb.project = experiment.data.source = experiment.analyze.measures.dino_model = text
        for seed in experiment.seeds:
            analysis = SeedAnalysis(experiment, seed)
            for step in analysis.steps:
                file = analysis.results_file(step)
                content = read_sealed(file)
                content["measures"]["dino"] = {"unavailable": f"the weights {text} are missing", "options": {}}
                write_sealed(file, content)
            analysis.failure_file(analysis.steps[0]).write_text(json.dumps({"step": 0, "why": text}))
        return experiment

    return prepare


def test_report_of_a_study_is_harmless(hostile_study, visit, capsys):
    experiment = hostile_study(EVERYTHING)
    with pytest.raises(UserError, match="the study is incomplete"):
        collect(experiment)
    folder = SeedAnalysis(experiment, 0).run.root.parent / "report"
    assert is_harmless(visit(folder / "index.html"))
    assert all(path.resolve().is_relative_to(folder.resolve()) for path in folder.rglob("*"))


def test_report_of_a_model_is_harmless(tiny_model_study, visit, tmp_path):
    source = tmp_path / f"{HOSTILE[1]}{HOSTILE[2]}{HOSTILE[3]}"
    shutil.copytree(tiny_model_study().source, source)
    study = tiny_model_study(source=source)
    model.collect(study, *analyze_model(study))
    visited = visit(report_folder(study) / "index.html")
    assert is_harmless(visited) and source.name in visited.page.locator("body").text_content()


def test_comparison_is_harmless(hostile_study, visit, tmp_path):
    first = hostile_study(EVERYTHING)
    for name in ("_a", "_b"):
        shutil.copytree(f"{first.runs}/digits", f"{first.runs}/{name}")
    entries = [copy.deepcopy(first) for _ in range(2)]
    for entry, name, text in zip(entries, ("_a", "_b"), (HOSTILE[0], EVERYTHING), strict=True):
        entry.name, entry.analyze.measures.dino_model = name, text
    file = write_comparison(entries, tmp_path / "page")
    visited = visit(file)
    assert is_harmless(visited)
    legend = visited.page.locator(".canvas svg").first.inner_html()
    assert "<script" not in legend


@pytest.mark.parametrize("text", HOSTILE)
def test_tables_stay_tables(text):
    row = TableRow(10, {"a": Value(1.0)})
    table = Table("name", text, (Column("a", "label"),), (row,), 1, text)
    markdown = to_markdown(table)
    assert "\n<" not in markdown and not any(line.startswith("<") for line in markdown.splitlines())
    assert [line for line in markdown.splitlines() if line.startswith("|")] == [
        "| T | label |",
        "| ---: | ---: |",
        "| 10 | 1.0 |",
    ]
    latex = to_latex(table)
    (caption,) = [line for line in latex.splitlines() if line.startswith(r"\caption")]
    assert r"\input" not in caption.replace(r"\textbackslash{}input", "") and caption.endswith("}")
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
