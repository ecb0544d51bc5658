"""python -m analyze export CONFIG.yaml [--out FILE]: every curve of every seed as one table for other programs."""

from pathlib import Path

from configs.command import experiment_parser, parsed

PURPOSE = "Writes all curves of all seeds as one tidy table, CSV or Parquet, a number a row."


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m analyze export", PURPOSE)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="a .csv or .parquet file; default: report/curves.csv of the experiment"
    )
    experiment, asked = parsed(parser, arguments)
    from analyze.report.export import export

    file, rows = export(experiment, asked.out)
    print(f"{file}: {rows:,} numbers")
