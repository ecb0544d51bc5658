"""The paper's tables with our numbers and the published ones, one row per number T of DDIM steps."""

import functools
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from analyze.analysis import SeedAnalysis
from analyze.curves import Curve, curves
from analyze.report.figures.curves import ANGLES, CORRELATION, DISTANCES
from analyze.report.metrics import ANGLE, METRICS
from analyze.report.table_formats import RENDERERS, Column, Table, TableRow, Value
from configs.schema import Analyze, Experiment
from records.atomic import write_text

WITHOUT_LATENTS = {"image_to_noise", "noise_to_image", "noise", "samples", "image_noise"}  # columns
PUBLISHED = Path(__file__).with_name("published.json")


@dataclass(frozen=True)
class FinalNumbers:
    """All numbers at the last step: `values[key]` has one entry per seed with results at this step."""

    options: Analyze
    step: int
    values: Mapping[str, list[float]]
    source: str = ""  # description of a model without checkpoints

    @property
    def description(self) -> str:
        seeds = max(map(len, self.values.values()))
        average = f"mean over {seeds} seeds" if seeds > 1 else "one seed"
        origin = self.source or f"Step {self.step:,}, weights {self.options.weights}, {average}."
        if _inverts_as_published(self.options):
            return origin
        return f"{origin} Inverted in {self.options.inversion_steps:,} steps."

    @property
    def mapping_images(self) -> int:
        """Number of images per chunk of the noise mapping."""
        return min(self.options.measures.mapping_images, self.options.samples)

    @property
    def correlation_images(self) -> int:
        """Number of images of the correlation."""
        return min(self.options.measures.correlation_images, self.options.samples)


@dataclass(frozen=True)
class Layout:
    """Content of a table, independent of the study."""

    name: str
    title: str
    metrics: tuple[str, ...]  # one per column
    decimals: int
    note: Callable[[FinalNumbers], str]

    @property
    def measure(self) -> str:
        """Key of the published numbers."""
        return self.metrics[0].partition("/")[0]

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(map(_column, self.metrics))


def _column(key: str) -> Column:
    metric, name = METRICS[key], key.partition("/")[2]
    if metric.quantity is ANGLE:
        name = f"angle_{name.removesuffix('_of_mean')}"
    return Column(name, metric.header, spread=f"{key}_std" in METRICS, published=name != "floor")


LAYOUTS = (
    Layout(
        "table1_correlation",
        "The ten largest correlations of pixels, by absolute value (Table 1)",
        tuple(CORRELATION.curves),
        3,
        lambda final: (
            f"Mean ± std over the ten pixel pairs, for {final.correlation_images:,} images; the noise floor is the "
            "value for as many images of fresh Gaussian noise."
        ),
    ),
    Layout(
        "table2_noise_mapping",
        "Noise mapping: correctly assigned by the smallest L2 distance (Table 2)",
        ("noise_mapping/image_to_noise", "noise_mapping/noise_to_image"),
        1,
        lambda final: f"Mean ± std over all chunks of {final.mapping_images:,} images.",
    ),
    Layout(
        "table345_triangle",
        "The triangle of noise x_T, image x_0 and latent x̂_T (Tables 3–5)",
        (*ANGLES.curves, *DISTANCES.curves),
        2,
        lambda final: (
            f"Angles: arccosine of the mean cosine. L2 distances: mean ± std over {final.options.samples:,} images."
        ),
    ),
)


def tables(experiment: Experiment) -> list[Table]:
    """Return the tables with at least one measured value, at the last checkpoint."""
    measured = curves([SeedAnalysis(experiment, seed) for seed in experiment.seeds])
    final = final_numbers(experiment.analyze, measured)
    return [] if final is None else tables_from([final])


def tables_from(finals: Sequence[FinalNumbers]) -> list[Table]:
    """Return the tables with one row per number of DDIM steps."""
    candidates = [_table(layout, finals) for layout in LAYOUTS] if finals else []
    return [table for table in candidates if any(row.ours for row in table.rows)]


def write_tables(tables: Sequence[Table], folder: Path) -> list[Path]:
    """Write tables as CSV, Markdown and LaTeX, and return the files."""
    written = []
    for table in tables:
        for kind, render in RENDERERS.items():
            written.append(folder / f"{table.name}.{kind}")
            write_text(written[-1], render(table))
    return written


def published_values(model: str | None, measure: str, ddim_steps: int) -> dict[str, Value]:
    """Return the paper's numbers by column; empty if it has none."""
    if model is None:
        return {}
    row = _published_models()[model][measure].get(str(ddim_steps), {})
    return {key: Value(*map(float, numbers)) for key, numbers in row.items()}


@functools.cache
def _published_models() -> dict[str, dict[str, dict[str, dict[str, list[float]]]]]:
    return json.loads(PUBLISHED.read_text(encoding="utf-8"))["models"]


def final_numbers(options: Analyze, measured: Mapping[str, Curve], source: str = "") -> FinalNumbers | None:
    """Return the numbers at the last step with results of any seed, or None if there are no results."""
    step = max((step for curve in measured.values() for step in curve.steps), default=None)
    if step is None:
        return None
    values = {name: curve.values[step] for name, curve in measured.items() if step in curve.values}
    return FinalNumbers(options, step, values, source)


def _table(layout: Layout, finals: Sequence[FinalNumbers]) -> Table:
    model = finals[0].options.published
    rows = [
        TableRow(
            final.options.ddim_steps,
            _values(layout, final),
            _published(model, layout, final.options),
        )
        for final in sorted(finals, key=lambda final: final.options.ddim_steps)
    ]
    note = f"{layout.note(finals[0])} {finals[0].description}"
    return Table(layout.name, layout.title, layout.columns, tuple(rows), layout.decimals, note, model)


def _published(model: str | None, layout: Layout, options: Analyze) -> dict[str, Value]:
    """Return the published numbers of a row; those of latents are for an inversion with as many steps."""
    values = published_values(model, layout.measure, options.ddim_steps)
    if _inverts_as_published(options):
        return values
    return {name: value for name, value in values.items() if name in WITHOUT_LATENTS}


def _inverts_as_published(options: Analyze) -> bool:
    return options.inversion_steps in (None, options.ddim_steps)


def _values(layout: Layout, final: FinalNumbers) -> dict[str, Value]:
    """Return the displayed values by column key."""
    columns = zip(layout.metrics, layout.columns, strict=True)
    return {column.key: _value(final, key) for key, column in columns if key in final.values}


def _value(final: FinalNumbers, key: str) -> Value:
    """Return the mean over seeds ± the mean standard deviation, for the noise mapping that over all chunks."""
    means, stds, scale = final.values[key], final.values.get(f"{key}_std"), METRICS[key].quantity.scale
    if stds is None:
        return Value(scale * statistics.fmean(means))
    std: float | None
    if key.startswith("noise_mapping/"):
        std = pooled_std(means, stds, final.options.samples // final.mapping_images)
    else:
        std = statistics.fmean(stds)
    return Value(scale * statistics.fmean(means), None if std is None else scale * std)


def pooled_std(means: Sequence[float], stds: Sequence[float], count: int) -> float | None:
    """Compute the standard deviation (N − 1) of all values from the means and deviations of groups of size `count`.

    Return None for a single value.
    """
    if len(means) * count < 2:
        return None
    middle = statistics.fmean(means)
    within = sum((count - 1) * std**2 for std in stds)
    between = sum(count * (mean - middle) ** 2 for mean in means)
    return math.sqrt((within + between) / (len(means) * count - 1))
