"""All curves of all seeds as one tidy table, a number a row, for people's own plots."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from analyze.analysis import SeedAnalysis, nothing_analyzed
from analyze.curves import seed_points
from configs.errors import UserError
from configs.schema import Experiment
from records.atomic import atomic_file
from records.layout import report_folder


class CurveRow(NamedTuple):
    """One number: `value` of a seed's checkpoint, by the names of its measure and of the value there."""

    experiment: str
    seed: int
    weights: str
    ddim_steps: int
    step: int
    measure: str
    name: str
    value: float


def export(experiment: Experiment, file: Path | None = None) -> tuple[Path, int]:
    """Writes the table, as the file's ending says, and returns where it is and how many rows it has.

    Raises UserError for another ending than .csv and .parquet, where nothing is analysed, where the file cannot be
    written, and for Parquet without pyarrow.
    """
    file = file or report_folder(experiment) / "curves.csv"
    if file.suffix not in FORMATS:
        raise UserError(f"{file}: its ending says the format, {' or '.join(FORMATS)}")
    made = list(rows(experiment))
    if not made:
        raise UserError(nothing_analyzed(experiment))
    data = FORMATS[file.suffix](made)
    try:
        with atomic_file(file) as aside:
            aside.write_bytes(data)
    except OSError as error:
        raise UserError(f"{file}: cannot be written: {error.strerror}") from None
    return file, len(made)


def rows(experiment: Experiment) -> Iterator[CurveRow]:
    """By seed, step, measure and name, in the order of the experiment's seeds."""
    options = experiment.analyze
    for seed in experiment.seeds:
        for point in seed_points(SeedAnalysis(experiment, seed)):
            for key in sorted(point.keys() - {"step"}):
                measure, _, name = key.partition("/")
                where = (experiment.name, seed, options.weights, options.ddim_steps, int(point["step"]))
                yield CurveRow(*where, measure, name, point[key])


def to_csv(made: list[CurveRow]) -> bytes:
    """With as many digits as give the same number again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CurveRow._fields)
    writer.writerows(made)
    return text.getvalue().encode()


def to_parquet(made: list[CurveRow]) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise UserError("Parquet needs pyarrow: pip install 'noisemap[parquet]', or write a .csv file") from None
    data = io.BytesIO()
    parquet.write_table(pyarrow.table(dict(zip(CurveRow._fields, zip(*made, strict=True), strict=True))), data)
    return data.getvalue()


FORMATS: dict[str, Callable[[list[CurveRow]], bytes]] = {".csv": to_csv, ".parquet": to_parquet}
