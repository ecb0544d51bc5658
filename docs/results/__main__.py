"""Render the pages of results from templates and tables: `python -m docs.results`.

A template contains no measured number. Its expressions take them from the CSV and JSON Lines files in the folder of the
same name, and published ones from the report's data, so every number on a page can be traced to a file.
"""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analyze.curves import Curve
from analyze.report.findings import metric_text
from analyze.report.paper_tables import published_values
from records.atomic import write_text
from records.tracking.points import read_points

FOLDER = Path(__file__).parent


def pages() -> Iterator[Path]:
    """Yield the pages that are rendered from a template."""
    return (template.with_suffix("") for template in sorted(FOLDER.glob("*.md.j2")))


def render(page: Path) -> str:
    """Return the content of a page. Raises jinja2.UndefinedError or KeyError if its tables do not have a number."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals |= {"published": published, "training_hours": training_hours}
    data = page.with_suffix("")
    names: dict[str, Any] = {log.stem: read_points(log) for log in data.glob("*.jsonl")}
    for table in data.glob("*.csv"):
        rows = table_rows(table)
        names[table.stem] = numbers_of(rows) if "measure" in rows[0] else rows
    return environment.get_template(f"{page.name}.j2").render(names) + "\n"


def table_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of a table; cells are numbers where possible."""
    with file.open(newline="", encoding="utf-8") as text:
        return [{name: _value(cell) for name, cell in row.items()} for row in csv.DictReader(text)]


def _value(cell: str) -> str | float:
    try:
        return float(cell)
    except ValueError:
        return cell


def numbers_of(rows: list[dict[str, Any]]) -> Callable[..., str]:
    """Return a function that formats the mean ± std over seeds of a metric at a step."""
    curves: dict[str, Curve] = {}
    for row in rows:
        key = f"{row['measure']}/{row['name']}"
        curve = curves.setdefault(key, Curve(key, {}))
        curve.values.setdefault(int(row["step"]), []).append(row["value"])
    return lambda key, step, digits=1: metric_text(curves, key, step, digits)


def published(model: str, measure: str, ddim_steps: int, column: str) -> str:
    """Return a number of the paper as text, with its ± where the paper has one."""
    value = published_values(model, measure, ddim_steps)[column]
    return " ± ".join(str(number) for number in (value.mean, value.std) if number is not None)


def training_hours(speed: list[dict[str, float]], batch_size: int) -> float:
    """Return the hours of training from the speed of each logged interval."""
    steps = [0, *(int(point["step"]) for point in speed)]
    intervals = zip(steps, speed, strict=False)
    return sum((point["step"] - begin) * batch_size / point["images_per_s"] for begin, point in intervals) / 3600


if __name__ == "__main__":
    for page in pages():
        write_text(page, render(page))
