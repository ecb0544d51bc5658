"""A table of numbers, and how it is written: CSV, Markdown, LaTeX and plain cells."""

import csv
import io
import itertools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PAPER = "arXiv 2410.23530v1"
WIDE = 8  # columns from which on a LaTeX table takes both columns of the page


@dataclass(frozen=True)
class Value:
    """A number, and its ± where it has one."""

    mean: float
    std: float | None = None


@dataclass(frozen=True)
class Column:
    """A number that a row has, by its key; `published` says whether the paper has it as well."""

    key: str
    label: str
    spread: bool = True  # whether it has a ±
    published: bool = True


@dataclass(frozen=True)
class TableRow:
    """What was measured with a number of DDIM steps, and what the paper has for it, by the column's key."""

    ddim_steps: int
    ours: Mapping[str, Value]
    published: Mapping[str, Value] = field(default_factory=dict)

    def difference(self, key: str) -> Value | None:
        """Ours − published, where there are both."""
        if key not in self.ours or key not in self.published:
            return None
        return Value(self.ours[key].mean - self.published[key].mean)


@dataclass(frozen=True)
class Table:
    """Rows of numbers with as many decimals as the paper gives, and a note on how they were made."""

    name: str  # of its files
    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    decimals: int
    note: str
    model: str | None = None  # whose published numbers stand beside ours


def to_csv(table: Table) -> str:
    """One number a cell: T, then `key`, `key_std`, `key_published`, `key_published_std` and `key_difference`."""
    text = io.StringIO()
    lines = [_csv_cells(table, row) for row in table.rows]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
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
    return f"**{_title(table)}**\n\n" + "\n".join(lines) + f"\n\n{table.note}\n"


def as_text(table: Table) -> list[list[str]]:
    """The header and the rows, a text a cell."""
    labels = {"": "", "published": "published", "difference": "Δ"}
    header = [labels[part] or column.label for column in table.columns for part in _part_names(table, column)]
    return [["T", *header], *(_cells(table, row, plain) for row in table.rows)]


def to_latex(table: Table) -> str:
    """A table for booktabs: where the paper has numbers, each column's name over ours, published and difference."""
    body = "\n".join(_tabular(table))
    kind = "table"
    if sum(len(_part_names(table, column)) for column in table.columns) > WIDE:
        kind, body = "table*", f"\\resizebox{{\\textwidth}}{{!}}{{%\n{body}}}"
    return "\n".join(
        [
            r"% needs \usepackage{booktabs,graphicx}",
            rf"\begin{{{kind}}}",
            r"\centering",
            rf"\caption{{{escaped(_title(table) + '. ' + table.note)}}}",
            rf"\label{{tab:{table.name.replace('_', '-')}}}",
            body,
            rf"\end{{{kind}}}",
            "",
        ]
    )


def _tabular(table: Table) -> list[str]:
    widths = [len(_part_names(table, column)) for column in table.columns]
    labels = [
        rf"\multicolumn{{{n}}}{{c}}{{{escaped(one.label)}}}" for n, one in zip(widths, table.columns, strict=True)
    ]
    header = [" & ".join(["$T$", *labels]) + r" \\"]
    if table.model:
        starts = itertools.accumulate(widths, initial=2)
        header.append(" ".join(rf"\cmidrule(lr){{{at}-{at + n - 1}}}" for at, n in zip(starts, widths, strict=False)))
        short = {"": "ours", "published": "paper", "difference": r"$\Delta$"}
        names = [short[part] for column in table.columns for part in _part_names(table, column)]
        header.append(" & ".join(["", *names]) + r" \\")
    rows = [" & ".join(_cells(table, row, mathematical)) + r" \\" for row in table.rows]
    start = rf"\begin{{tabular}}{{{'r' * (1 + sum(widths))}}}"
    return [start, r"\toprule", *header, r"\midrule", *rows, r"\bottomrule", r"\end{tabular}"]


RENDERERS: dict[str, Callable[[Table], str]] = {"csv": to_csv, "md": to_markdown, "tex": to_latex}


def _title(table: Table) -> str:
    return table.title + (f", beside the values published for {table.model} ({PAPER})" if table.model else "")


def _part_names(table: Table, column: Column) -> list[str]:
    """Ours as "", and where the table is compared and the paper has this column, what stands beside it."""
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
    """With so many decimals; nothing for None, and no minus before a zero."""
    return "" if number is None else f"{round(number, decimals) + 0.0:.{decimals}f}"


def plain(value: Value, decimals: int, signed: bool = False) -> str:
    """32.29 ± 4.68, or a difference: +0.12 or −0.12."""
    number = _decimal(value.mean, decimals)
    sign = "+" if signed and float(number) > 0 else ""
    spread = "" if value.std is None else f" ± {_decimal(value.std, decimals)}"
    return sign + number.replace("-", "−") + spread


def mathematical(value: Value, decimals: int, signed: bool = False) -> str:
    r"""The same in LaTeX: $32.29 \pm 4.68$."""
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
SYMBOLS = {"x̂_T": r"$\hat{x}_T$", "x_T": "$x_T$", "x_0": "$x_0$"}


def escaped(text: str) -> str:
    """Text for LaTeX: its special characters as such, the symbols x_T, x_0 and x̂_T as mathematics."""
    parts = re.split(f"({'|'.join(SYMBOLS)})", text)
    return "".join(SYMBOLS.get(part) or "".join(LATEX.get(one, one) for one in part) for part in parts)
