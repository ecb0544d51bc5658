"""`python -m analyze export CONFIG.yaml [--out FILE]`: all curves of all seeds as one table."""

import sys
from pathlib import Path

from configs.command import experiment_parser, parse

PURPOSE = "Export all curves of all seeds as one tidy table, CSV or Parquet, with one number per row."


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m analyze export", PURPOSE)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .csv or .parquet file; default: curves.csv in the report's folder"
    )
    experiment, options = parse(parser, arguments)
    from analyze.report.export import export
    from analyze.report.study import missing, trained_further

    for sentence in (*trained_further(experiment), *missing(experiment)):
        print(f"warning: {sentence}", file=sys.stderr)
    file, count = export(experiment, options.out)
    print(f"{file}: {count:,} numbers")
