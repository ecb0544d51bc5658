"""Tables of numbers as CSV, Markdown, LaTeX and plain cells."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analyze.report.figures.style import SYMBOLS

PAPER = "arXiv 2410.23530v1"
MAX_NARROW = 8  # columns of a LaTeX table that fits into one column of the page


@dataclass(frozen=True)
class Value:
    """A number with an optional ±."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Column:
    """A column, identified by its key in TableRow."""

    key: str
    label: str
    spread: bool = True  # whether values have a ±
    published: bool = True  # whether the paper has this column


@dataclass(frozen=True)
class TableRow:
    """Values measured with T DDIM steps, and the published ones, by column key."""

    ddim_steps: int
    ours: Mapping[str, Value]
    published: Mapping[str, Value] = field(default_factory=dict)

    def difference(self, key: str) -> Value | None:
        """Return ours − published, or None if either is missing."""
        if key not in self.ours or key not in self.published:
            return None
        return Value(self.ours[key].mean - self.published[key].mean)


@dataclass(frozen=True)
class Table:
    """Rows with the decimals of the paper, and a note on how the numbers are computed."""

    name: str  # of the files
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    decimals: int
    note: str
    model: str | None = None  # the published model to compare with


def to_csv(table: Table) -> str:
    """Render one number per cell: T, then `key`, `key_std`, `key_published`, `key_published_std`, `key_difference`."""
    return csv_text([_csv_cells(table, row) for row in table.rows])


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Render rows as CSV; the columns are the keys of all rows, in their order."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(itertools.chain(*rows))), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_cells(table: Table, row: TableRow) -> dict[str, str]:
    cells = {"T": str(row.ddim_steps)}
    for column in table.columns:
        for part, value in _parts(table, column, row).items():
            name = f"{column.key}_{part}" if part else column.key
            cells[name] = _decimal(value.mean if value else None, table.decimals)
            if column.spread and part != "difference":
                cells[f"{name}_std"] = _decimal(value.std if value else None, table.decimals)
    return cells


def to_markdown(table: Table) -> str:
    header, *rows = as_text(table)
    lines = ["| " + " | ".join(line) + " |" for line in (header, ["---:"] * len(header), *rows)]
    title, note = (re.sub(r"[<\[`|*\\]", r"\\\g<0>", one_line(text)) for text in (_title(table), table.note))
    return f"**{title}**\n\n" + "\n".join(lines) + f"\n\n{note}\n"


def one_line(text: str) -> str:
    """Return text without line breaks, which file names and prompts may contain."""
    return " ".join(text.split())


def as_text(table: Table) -> list[list[str]]:
    """Return the header and the rows as texts."""
    labels = {"": "", "published": "published", "difference": "Δ"}
    header = [labels[part] or column.label for column in table.columns for part in _part_names(table, column)]
    return [["T", *header], *(_cells(table, row, plain) for row in table.rows)]


def to_latex(table: Table) -> str:
    """Render a booktabs table; if published values exist, each label spans ours, published and difference."""
    body = "\n".join(_tabular(table))
    environment = "table"
    if sum(len(_part_names(table, column)) for column in table.columns) > MAX_NARROW:
        environment, body = "table*", f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body}}}"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            rf"\begin{{{environment}}}",
            r"\centering",
            rf"\caption{{{escape(one_line(_title(table) + '. ' + table.note))}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            body,
            rf"\end{{{environment}}}",
            "",
        ]
    )


def _tabular(table: Table) -> list[str]:
    widths = [len(_part_names(table, column)) for column in table.columns]
    labels = [
        rf"\multicolumn{{{width}}}{{c}}{{{escape(column.label)}}}"
        for width, column in zip(widths, table.columns, strict=True)
    ]
    header = [" & ".join(["$T$", *labels]) + r" \\"]
    if table.model:
        starts = itertools.accumulate(widths, initial=2)
        header.append(" ".join(rf"\cmidrule(lr){{{at}-{at + n - 1}}}" for at, n in zip(starts, widths, strict=False)))
        short = {"": "ours", "published": "paper", "difference": r"$\Delta$"}
        names = [short[part] for column in table.columns for part in _part_names(table, column)]
        header.append(" & ".join(["", *names]) + r" \\")
    rows = [" & ".join(_cells(table, row, latex_math)) + r" \\" for row in table.rows]
    start = rf"\begin{{tabular}}{{{'r' * (1 + sum(widths))}}}"
    return [start, r"\toprule", *header, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]


RENDERERS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def _title(table: Table) -> str:
    return table.title + (f", compared with the values published for {table.model} ({PAPER})" if table.model else "")


def _part_names(table: Table, column: Column) -> list[str]:
    """Return "" for ours, followed by the published value and the difference if the paper has this column."""
    return ["", "published", "difference"] if table.model and column.published else [""]


def _parts(table: Table, column: Column, row: TableRow) -> dict[str, Value | None]:
    values = {
        "": row.ours.get(column.key),
        "published": row.published.get(column.key),
        "difference": row.difference(column.key),
    }
    return {part: values[part] for part in _part_names(table, column)}


def _cells(table: Table, row: TableRow, text: Callable[[Value, int, bool], str]) -> list[str]:
    return [str(row.ddim_steps)] + [
        "" if value is None else text(value, table.decimals, part == "difference")
        for column in table.columns
        for part, value in _parts(table, column, row).items()
    ]


def _decimal(number: float | None, decimals: int) -> str:
    """Format a number with fixed decimals and without negative zero; None is empty."""
    return "" if number is None else f"{round(number, decimals) + 0.0:.{decimals}f}"


def plain(value: Value, decimals: int, signed: bool = False) -> str:
    """Format 32.29 ± 4.68, or a difference: +0.12 or −0.12."""
    number = _decimal(value.mean, decimals)
    sign = "+" if signed and float(number) > 0 else ""
    spread = "" if value.std is None else f" ± {_decimal(value.std, decimals)}"
    return sign + number.replace("-", "−") + spread


def latex_math(value: Value, decimals: int, signed: bool = False) -> str:
    r"""Format $32.29 \pm 4.68$."""
    return "$" + plain(value, decimals, signed).replace("±", r"\pm").replace("−", "-") + "$"


LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\to$",
    "°": r"$^\circ$",
    "−": "$-$",
    "–": "--",
    "Δ": r"$\Delta$",
}


def escape(text: str) -> str:
    """Escape text for LaTeX and typeset x_T, x_0 and x̂_T as mathematics."""
    parts = re.split(f"({'|'.join(SYMBOLS)})", text)
    return "".join(SYMBOLS.get(part) or "".join(LATEX.get(char, char) for char in part) for part in parts)
