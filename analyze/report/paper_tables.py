"""The paper's tables of a study, beside what the paper has: report/tables/table1_correlation.csv, ….md, ….tex, …

A table has a row for each number T of DDIM steps, the published value and the difference beside each of its numbers.
"""

import functools
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.report.table_formats import RENDERERS, Column, Table, TableRow, Value
from configs.schema import Analyze, Experiment
from records.atomic import write_text
from records.layout import report_folder

PUBLISHED = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class Final:
    """All numbers of a study's last checkpoint: `values[name]` has one entry a seed that has got there."""

    options: Analyze
    step: int
    values: Mapping[str, list[float]]
    of: str = ""  # the checkpoint, for people

    @property
    def about(self) -> str:
        """Which weights and how many seeds the numbers are of."""
        seeds = max(map(len, self.values.values()))
        over = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
        return self.of or f"Step {self.step:,}, weights {self.options.weights}, {over}."

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
    return tables_from([final for experiment in experiments if (final := _final(experiment))])


def tables_from(finals: Sequence[Final]) -> list[Table]:
    """Tables with a row for each of some numbers of DDIM steps."""
    made = [_table(layout, finals) for layout in LAYOUTS] if finals else []
    return [table for table in made if any(row.ours for row in table.rows)]


def write_tables(experiment: Experiment) -> list[Path]:
    """Writes the tables of an experiment as CSV, Markdown and LaTeX, and returns the files."""
    return write_all(tables(experiment), report_folder(experiment) / "tables")


def write_all(made: Sequence[Table], folder: Path) -> list[Path]:
    """Writes tables as CSV, Markdown and LaTeX, and returns the files."""
    written = []
    for table in made:
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


def final_numbers(options: Analyze, measured: Mapping[str, Curve], of: str = "") -> Final | None:
    """The numbers at the last step that any seed is measured at; None where nothing is."""
    step = max((step for curve in measured.values() for step in curve.steps), default=None)
    if step is None:
        return None
    values = {name: curve.values[step] for name, curve in measured.items() if step in curve.values}
    return Final(options, step, values, of)


def _final(experiment: Experiment) -> Final | None:
    measured = curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds])
    return final_numbers(experiment.analyze, measured)


def _table(layout: Layout, finals: Sequence[Final]) -> Table:
    options = finals[0].options
    rows = [
        TableRow(
            one.options.ddim_steps,
            layout.values(one),
            published_values(options.published, layout.measure, one.options.ddim_steps),
        )
        for one in sorted(finals, key=lambda one: one.options.ddim_steps)
    ]
    note = f"{layout.note(options)} {finals[0].about}"
    return Table(layout.name, layout.title, layout.columns, tuple(rows), layout.decimals, note, options.published)


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
            f"Mean ± std over all chunks of {min(options.measures.mapping_images, options.samples):,} images."
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
