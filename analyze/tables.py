"""The paper's tables of a study, beside what the paper has: report/tables/table1_correlation.csv, ….md, ….tex, …

A table has a row for each number T of DDIM steps, the published value and the difference beside each of its numbers.
"""

import csv
import functools
import io
import itertools
import json
import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from configs.schema import Analyze, Experiment
from records.durable import write_text
from records.layout import report_folder

PUBLISHED = Path(__file__).with_name("published.json")
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
class Row:
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
    rows: tuple[Row, ...]
    decimals: int
    note: str
    model: str | None = None  # whose published numbers stand beside ours


@dataclass(frozen=True)
class Final:
    """All numbers of a study's last checkpoint: `values[name]` has one entry a seed that has got there."""

    options: Analyze
    step: int
    values: Mapping[str, list[float]]

    def mean(self, *names: str, std: str | None = None) -> dict[str, Value]:
        """By the last part of each name its mean over seeds, with the mean of `<name><std>` as the ±."""
        return {
            name.partition("/")[2]: Value(
                statistics.fmean(self.values[name]), None if std is None else statistics.fmean(self.values[name + std])
            )
            for name in names
            if name in self.values
        }


@dataclass(frozen=True)
class Layout:
    """What a table is, whatever the study."""

    name: str
    measure: str  # the key of its published numbers
    title: str
    columns: tuple[Column, ...]
    decimals: int
    values: Callable[[Final], dict[str, Value]]
    note: Callable[[Analyze], str]


def tables(experiment: Experiment) -> list[Table]:
    """Those tables of a study that anything is measured of, at its last checkpoint."""
    return tables_of([experiment])


def tables_of(experiments: Sequence[Experiment]) -> list[Table]:
    """Tables with a row for each experiment: the same study with different numbers of DDIM steps."""
    finals = [final for experiment in experiments if (final := _final(experiment))]
    made = [_table(layout, finals) for layout in LAYOUTS] if finals else []
    return [table for table in made if any(row.ours for row in table.rows)]


def write_tables(experiment: Experiment) -> list[Path]:
    """Writes the tables as CSV, Markdown and LaTeX, and returns the files."""
    folder, written = report_folder(experiment) / "tables", []
    for table in tables(experiment):
        for kind, render in RENDERERS.items():
            written.append(folder / f"{table.name}.{kind}")
            write_text(written[-1], render(table))
    return written


def published_values(model: str | None, measure: str, ddim_steps: int) -> dict[str, Value]:
    """The paper's numbers by column; empty where it has none."""
    if model is None:
        return {}
    row = _published_models()[model][measure].get(str(ddim_steps), {})
    return {key: Value(*map(float, numbers)) for key, numbers in row.items()}


@functools.cache
def _published_models() -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))["models"]


def final_numbers(options: Analyze, measured: Mapping[str, Curve]) -> Final | None:
    """The numbers at the last step that any seed is measured at; None where nothing is."""
    step = max((step for curve in measured.values() for step in curve.steps), default=None)
    if step is None:
        return None
    values = {name: curve.values[step] for name, curve in measured.items() if step in curve.values}
    return Final(options, step, values)


def _final(experiment: Experiment) -> Final | None:
    measured = curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds])
    return final_numbers(experiment.analyze, measured)


def _table(layout: Layout, finals: Sequence[Final]) -> Table:
    options = finals[0].options
    rows = [
        Row(
            one.options.ddim_steps,
            layout.values(one),
            published_values(options.published, layout.measure, one.options.ddim_steps),
        )
        for one in sorted(finals, key=lambda one: one.options.ddim_steps)
    ]
    note = f"{layout.note(options)} {_about(finals)}"
    return Table(layout.name, layout.title, layout.columns, tuple(rows), layout.decimals, note, options.published)


def _about(finals: Sequence[Final]) -> str:
    """Which checkpoint and how many seeds the numbers are of."""
    final = finals[0]
    seeds = max(map(len, final.values.values()))
    over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
    return f"Step {final.step:,}, weights {final.options.weights}, {over}."


# --- what stands in them


def _correlation(final: Final) -> dict[str, Value]:
    return final.mean(*(f"correlation/{column.key}" for column in CORRELATION), std="_std")


def _noise_mapping(final: Final) -> dict[str, Value]:
    """In per cent, ± over all chunks of all seeds."""
    options, made = final.options, {}
    chunks = options.samples // min(options.measures.mapping_images, options.samples)
    for column in NOISE_MAPPING:
        name = f"noise_mapping/{column.key}"
        if name in final.values:
            means, stds = final.values[name], final.values[f"{name}_std"]
            made[column.key] = Value(100 * statistics.fmean(means), 100 * pooled_std(means, stds, chunks))
    return made


def pooled_std(means: Sequence[float], stds: Sequence[float], count: int) -> float:
    """Standard deviation, with N − 1, of all values of groups of `count`, by the groups' means and deviations."""
    if len(means) * count < 2:
        return 0.0
    middle = statistics.fmean(means)
    within = sum((count - 1) * std**2 for std in stds)
    between = sum(count * (mean - middle) ** 2 for mean in means)
    return math.sqrt((within + between) / (len(means) * count - 1))


def _triangle(final: Final) -> dict[str, Value]:
    angles = final.mean(*(f"triangle/{corner}_of_mean" for corner in ("image", "noise", "latent")))
    distances = final.mean(*(f"distances/{column.key}" for column in TRIANGLE[3:]), std="_std")
    return {f"angle_{key.removesuffix('_of_mean')}": value for key, value in angles.items()} | distances


CORRELATION = (
    Column("noise", "noise x_T"),
    Column("latents", "latent x̂_T"),
    Column("samples", "image x_0"),
    Column("floor", "noise floor", published=False),
)
NOISE_MAPPING = (Column("image_to_noise", "image → noise, %"), Column("noise_to_image", "noise → image, %"))
TRIANGLE = (
    Column("angle_image", "angle at image, °", spread=False),
    Column("angle_noise", "angle at noise, °", spread=False),
    Column("angle_latent", "angle at latent, °", spread=False),
    Column("noise_latent", "noise–latent, L2"),
    Column("image_latent", "image–latent, L2"),
    Column("image_noise", "image–noise, L2"),
)
LAYOUTS = (
    Layout(
        "table1_correlation",
        "correlation",
        "The ten largest correlations of pixels, by absolute value (Table 1)",
        CORRELATION,
        3,
        _correlation,
        lambda options: (
            f"Mean ± std over the ten, of {min(options.measures.correlation_images, options.samples):,} images; "
            "the floor is the same of as much fresh Gaussian noise."
        ),
    ),
    Layout(
        "table2_noise_mapping",
        "noise_mapping",
        "Noise mapping: correctly assigned by the smallest L2 distance (Table 2)",
        NOISE_MAPPING,
        1,
        _noise_mapping,
        lambda options: (
            f"Mean ± std over chunks of {min(options.measures.mapping_images, options.samples):,} images and over "
            "seeds."
        ),
    ),
    Layout(
        "table345_triangle",
        "triangle",
        "The triangle of noise x_T, image x_0 and latent x̂_T (Tables 3–5)",
        TRIANGLE,
        2,
        _triangle,
        lambda options: (
            f"Angles: arc cosine of the mean cosine; distances: mean ± std over {options.samples:,} images."
        ),
    ),
)


# --- how they are written


def to_csv(table: Table) -> str:
    """One number a cell: T, then `key`, `key_std`, `key_published`, `key_published_std` and `key_difference`."""
    text = io.StringIO()
    lines = [_csv_cells(table, row) for row in table.rows]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _csv_cells(table: Table, row: Row) -> dict[str, str]:
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


def _parts(table: Table, column: Column, row: Row) -> dict[str, Value | None]:
    values = {
        "": row.ours.get(column.key),
        "published": row.published.get(column.key),
        "difference": row.difference(column.key),
    }
    return {part: values[part] for part in _part_names(table, column)}


def _cells(table: Table, row: Row, text: Callable[[Value, int, bool], str]) -> list[str]:
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
