"""What of the pages is made when they are built: every option, what benchmarks found, the notebook with its figures.

The sources link files of the repository, so that they can be followed where the repository is read. Here a link goes
to the page that such a file became, or becomes its bare name.
"""

import dataclasses
import re
import typing
from collections.abc import Iterator
from pathlib import Path

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from nbconvert.preprocessors import ExecutePreprocessor

from configs.command import default_text
from configs.load import type_name
from configs.schema import Experiment, ModelStudy

REPOSITORY = Path(__file__).parent.parent
NOTEBOOK = REPOSITORY / "docs" / "curves.ipynb"
RESULTS = sorted((REPOSITORY / "benchmarks" / "results").glob("*.md"))
PAGE_OF = {"configs/schema.py": "options.md", "docs/curves.ipynb": "curves.md"}
PAGE_OF |= {f"benchmarks/results/{file.name}": f"benchmarks/{file.name}" for file in RESULTS}
LINK = re.compile(r"\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for name, content in [("options.md", options_page()), *notebook_pages(), *benchmark_pages()]:
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    return LINK.sub(_relinked, markdown)


def _relinked(link: re.Match[str]) -> str:
    text, target, anchor = link.groups()
    file = (REPOSITORY / "docs" / target).resolve()
    if not file.is_relative_to(REPOSITORY):
        return link[0]
    page = PAGE_OF.get(str(file.relative_to(REPOSITORY)))
    if page:
        return f"[{text}]({page}{anchor or ''})"
    return link[0] if file.is_relative_to(REPOSITORY / "docs") else f"`{text.strip('`')}`"


# --- every option


def options_page() -> str:
    experiment, study = _sections(Experiment), _sections(ModelStudy)
    shared = {kind for kind, *_ in experiment}
    return "\n".join(
        [
            "# Every option",
            "",
            "Set in a YAML file as nested keys, or behind it on the command line as `key=value`, which wins.",
            "An option marked ↻ may differ when a started run goes on; any other change is refused.",
            "",
            "## An experiment",
            "",
            "What `python -m train`, `python -m analyze`, `python -m launch` and `python -m train.datasets` take.",
            *(line for one in experiment for line in _section_lines(*one)),
            "## A model that others trained",
            "",
            "What `python -m analyze model` takes; its sections `analyze` and `wandb` are those above.",
            *(line for one in study if one[0] not in shared for line in _section_lines(*one)),
        ]
    )


def _sections(kind: type, name: str = "", meaning: str = "", may_change: bool = False) -> list[tuple]:
    """(class, dotted name, meaning, may_change) of a section and of all below it, in the order of the schema."""
    found = [(kind, name, meaning, may_change)]
    for field in dataclasses.fields(kind):
        if dataclasses.is_dataclass(field.type):
            about, below = field.metadata, f"{name}.{field.name}" if name else field.name
            changes = may_change or about["may_change"]
            found += _sections(typing.cast(type, field.type), below, about["meaning"], changes)
    return found


def _section_lines(kind: type, name: str, meaning: str, may_change: bool) -> Iterator[str]:
    if name:
        yield from ("", f"### `{name}`", "", f"{meaning[0].upper()}{meaning[1:]}.")
    yield from ("", "| option | type | default | meaning | range |", "|---|---|---|---|---|")
    for field in dataclasses.fields(kind):
        if not dataclasses.is_dataclass(field.type):
            yield _option_row(field, f"{name}.{field.name}" if name else field.name, may_change)
    yield ""


def _option_row(field: dataclasses.Field, key: str, may_change: bool) -> str:
    about = field.metadata
    limits = [f"{sign} {about[end]:g}" for sign, end in (("≥", "at_least"), ("≤", "at_most")) if about[end] is not None]
    unit = [f"[{about['unit']}]"] if about["unit"] else []
    mark = " ↻" if may_change or about["may_change"] else ""
    default = default_text(field).replace("???", "–")
    cells = [
        f"`{key}`{mark}",
        type_name(field.type),
        f"`{default}`",
        " ".join([about["meaning"], *unit]),
        ", ".join(limits),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


# --- pages of other files


def benchmark_pages() -> list[tuple[str, str]]:
    return [(f"benchmarks/{file.name}", file.read_text(encoding="utf-8")) for file in RESULTS]


def notebook_pages() -> list[tuple[str, str | bytes]]:
    """The notebook as a page, and its figures: executed, so that it shows what it computes today."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    quiet = ["--log-level=ERROR"]  # or the kernel warns of strangers on the network, of which it listens to none
    ExecutePreprocessor(timeout=120, extra_arguments=quiet).preprocess(notebook, {"metadata": {"path": NOTEBOOK.parent}})
    text, made = MarkdownExporter().from_notebook_node(notebook)
    return [("curves.md", text), *made["outputs"].items()]
