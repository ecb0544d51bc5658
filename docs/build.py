"""Generated pages of the documentation: options, metrics, benchmark results, and the notebooks with their figures.

Pages link to files of the repository, for readers of the repository. In the built documentation, such a link leads to
the page generated from the file, or becomes the file name as text.
"""

import functools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

from analyze.report.metrics import ANALYSIS, TRAINING, metrics_table
from configs.command import SchemaSection, default_text, limits
from configs.load import type_name
from configs.schema import Experiment, ModelStudy

DOCS = Path(__file__).parent
REPOSITORY = DOCS.parent
NOTEBOOKS = {"curves.ipynb": "curves.md", "library.ipynb": "library_example.md"}
RESULTS = sorted((REPOSITORY / "benchmarks" / "results").glob("*.md"))
PAGE_OF = {
    "configs/schema.py": "options.md",
    "analyze/report/metrics.py": "catalog.md",
}
PAGE_OF |= {f"docs/{notebook}": page for notebook, page in NOTEBOOKS.items()}
PAGE_OF |= {f"benchmarks/results/{file.name}": f"benchmarks/{file.name}" for file in RESULTS}
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, content in _generated_pages():
        files.append(File.generated(config, name, content=content))
    return files


def _generated_pages() -> Iterator[tuple[str, str | bytes]]:
    yield "options.md", options_page()
    yield "catalog.md", metrics_page()
    for notebook, page in NOTEBOOKS.items():
        yield from notebook_pages(DOCS / notebook, page)
    yield from benchmark_pages()


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    folder = (DOCS / page.file.src_uri).parent
    return LINK.sub(functools.partial(_rewritten_link, folder), markdown)


def _rewritten_link(folder: Path, link: re.Match[str]) -> str:
    text, target, anchor = link.groups()
    file = (folder / target).resolve()
    if not file.is_relative_to(REPOSITORY):
        return link[0]
    page = PAGE_OF.get(str(file.relative_to(REPOSITORY)))
    shown = DOCS / page if page else file
    if not shown.is_relative_to(DOCS):
        return f"`{text.strip('`')}`"
    return f"[{text}]({os.path.relpath(shown, folder)}{anchor or ''})"


# --- options


def options_page() -> str:
    experiment, study = list(SchemaSection(Experiment).sections()), list(SchemaSection(ModelStudy).sections())
    shown = {section.kind for section in experiment}
    return "\n".join(
        [
            "# Options",
            "",
            "Set options in a YAML file as nested keys, or on the command line as `key=value`, which takes precedence.",
            "Options marked ↻ may change after a run has started; any other change is rejected.",
            "",
            "## An experiment",
            "",
            "Options of `python -m train`, `python -m analyze`, `python -m launch` and `python -m train.datasets`.",
            *(line for section in experiment for line in _section_lines(section)),
            "## A pretrained model",
            "",
            "Options of `python -m analyze model`; its sections `analyze` and `wandb` are the same as above.",
            *(line for section in study if section.kind not in shown for line in _section_lines(section)),
        ]
    )


def _section_lines(section: SchemaSection) -> Iterator[str]:
    if section.name:
        yield from ("", f"### `{section.name}`", "", f"{section.meaning[0].upper()}{section.meaning[1:]}.")
    yield from (
        "",
        '<div class="stacked" markdown>',
        "",
        "| option | type | default | meaning | range |",
        "|---|---|---|---|---|",
    )
    for key, field in section.options():
        about = field.metadata
        default, unit = default_text(field), f" [{about['unit']}]" if about["unit"] else ""
        shown = f"`{default}`" if default else ""
        cells = [f"`{key}`{section.mark(field)}", type_name(field.type), shown, about["meaning"] + unit, limits(field)]
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield from ("", "</div>", "")


# --- metrics


def metrics_page() -> str:
    about = "Labels, units, ranges and formulas of the [names in W&B](metrics.md). x̄_0 is the last checkpoint's image."
    tables = [
        f"## {title}\n\n{metrics_table(metrics)}" for title, metrics in (("Training", TRAINING), ("Analysis", ANALYSIS))
    ]
    return "\n\n".join(["# Metrics", about, *tables])


# --- pages from other files


def benchmark_pages() -> list[tuple[str, str]]:
    return [(f"benchmarks/{file.name}", file.read_text(encoding="utf-8")) for file in RESULTS]


def notebook_pages(path: Path, page: str) -> list[tuple[str, str | bytes]]:
    """Execute a notebook, and return it as a page with its figures, without warnings, which depend on the machine."""
    notebook = nbformat.read(path, as_version=4)
    quiet = ["--log-level=ERROR"]  # hides the kernel's warning about network access, which does not apply here
    ExecutePreprocessor(timeout=120, extra_arguments=quiet).preprocess(notebook, {"metadata": {"path": path.parent}})
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": path.stem})
    return [(page, text), *resources["outputs"].items()]
