"""python -m analyze compare A.yaml [key=value …] B.yaml [key=value …]: several experiments on one page."""

import argparse
from pathlib import Path

from configs.errors import UserError
from configs.load import load
from configs.schema import Experiment

PURPOSE = "Shows several experiments, or ways of analysing one, side by side on one page."
EXAMPLES = """\
key=value belongs to the configuration before it:

  python -m analyze compare configs/cifar10.yaml configs/imagenet64.yaml
  python -m analyze compare configs/cifar10.yaml configs/cifar10.yaml analyze.weights=model
  python -m analyze compare A.yaml runs=/data/runs B.yaml runs=/data/runs --out comparison

Each must have been analysed:  python -m analyze CONFIG.yaml key=value …
"""


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m analyze compare",
        description=PURPOSE,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("configs", nargs="+", metavar="CONFIG.yaml [key=value …]", help="two to six experiments")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where index.html is written; default: comparisons/… of the runs"
    )
    asked = parser.parse_intermixed_args(arguments)
    experiments = read(asked.configs)
    from analyze.report.comparison import write_comparison

    print(f"Comparison: {write_comparison(experiments, asked.out)}")


def read(arguments: list[str]) -> list[Experiment]:
    """The experiments of configurations, each followed by its overrides."""
    asked: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if "=" not in argument:
            asked.append((argument, []))
        elif asked:
            asked[-1][1].append(argument)
        else:
            raise UserError(f"command line: {argument} comes before the configuration that it would belong to")
    return [load(config, overrides) for config, overrides in asked]
