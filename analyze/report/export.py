"""Export of all numbers of a study as a tidy table with one number per row."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from analyze.analysis import Analysis, SeedAnalysis, nothing_analyzed
from analyze.curves import seed_points
from configs.errors import UserError
from configs.schema import Experiment
from records.atomic import write_bytes
from records.layout import report_folder


class CurveRow(NamedTuple):
    """One number of a checkpoint: the metric `measure`/`name`. A pretrained model has no seed, and its step is T."""

    experiment: str
    seed: int | None
    weights: str
    ddim_steps: int
    inversion_steps: int
    step: int
    measure: str
    name: str
    value: float


def export(experiment: Experiment, file: Path | None = None) -> tuple[Path, int]:
    """Write the table in the format of the file's suffix, and return its path and number of rows.

    Raises UserError for a suffix other than .csv and .parquet, if nothing has been analyzed, if the file cannot be
    written, or if Parquet is requested without pyarrow.
    """
    file = file or report_folder(experiment) / "curves.csv"
    if file.suffix not in FORMATS:
        raise UserError(f"{file}: unknown format {file.suffix!r}; choose a file name with {' or '.join(FORMATS)}")
    table = list(rows(experiment))
    if not table:
        raise UserError(nothing_analyzed(experiment))
    data = FORMATS[file.suffix](table)
    try:
        write_bytes(file, data)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
    return file, len(table)


def rows(experiment: Experiment) -> Iterator[CurveRow]:
    """Yield the rows by seed in the experiment's order, step, measure and name."""
    for seed in experiment.seeds:
        yield from analysis_rows(experiment.name, seed, SeedAnalysis(experiment, seed))


def analysis_rows(name: str, seed: int | None, analysis: Analysis) -> Iterator[CurveRow]:
    """Yield the rows of an analysis by step, measure and name."""
    options = analysis.options
    for point in seed_points(analysis):
        back = options.inversion_steps or options.ddim_steps
        origin = (name, seed, options.weights, options.ddim_steps, back, int(point["step"]))
        for key in sorted(point.keys() - {"step"}):
            measure, _, metric = key.partition("/")
            yield CurveRow(*origin, measure, metric, point[key])


def to_csv(table: Iterable[CurveRow]) -> bytes:
    """Encode as CSV; values are written with all digits and parse back exactly."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CurveRow._fields)
    writer.writerows(table)
    return text.getvalue().encode()


def to_parquet(table: list[CurveRow]) -> bytes:
    """Encode as Parquet. Raises UserError if pyarrow is not installed."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError("Parquet requires pyarrow: pip install -e '.[parquet]' in the clone, or write .csv") from None
    data = io.BytesIO()
    columns = dict(zip(CurveRow._fields, zip(*table, strict=True), strict=True))
    parquet.write_table(pyarrow.table(columns), data)
    return data.getvalue()


FORMATS: dict[str, Callable[[list[CurveRow]], bytes]] = {".csv": to_csv, ".parquet": to_parquet}
