"""`python -m analyze compare A.yaml [key=value …] B.yaml [key=value …]`: several experiments on one page."""

import argparse
from pathlib import Path

from configs.errors import UserError
from configs.load import load
from configs.schema import Experiment

PURPOSE = (
    "Compare several experiments, or several analyses of one experiment, on one page: numbers, pictures, and the "
    "similarity of images from the same noise."
)
EXAMPLES = """\
key=value applies to the configuration before it:

  python -m analyze compare configs/cifar10.yaml configs/imagenet64.yaml
  python -m analyze compare configs/cifar10.yaml configs/cifar10.yaml analyze.weights=model
  python -m analyze compare A.yaml name=first data.half=first A.yaml name=second data.half=second
  python -m analyze compare A.yaml runs=/data/runs B.yaml runs=/data/runs --out comparison

Analyze each of them first:  python -m analyze CONFIG.yaml key=value …
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
        "--out", type=Path, metavar="FOLDER", help="folder of index.html; default: RUNS/comparisons/TITLE"
    )
    parsed = parser.parse_intermixed_args(arguments)
    experiments = read(parsed.configs)
    from analyze.report.comparison import write_comparison

    print(f"Comparison: {write_comparison(experiments, parsed.out)}")


def read(arguments: list[str]) -> list[Experiment]:
    """Load configurations that are each followed by their overrides."""
    requested: list[tuple[str, list[str]]] = []
    for argument in arguments:
        if "=" not in argument:
            requested.append((argument, []))
        elif requested:
            requested[-1][1].append(argument)
        else:
            raise UserError(
                f"command line: {argument} precedes all configurations; write it after the one it overrides"
            )
    return [load(config, overrides) for config, overrides in requested]
