"""`python -m launch [study] CONFIG.yaml [--cluster NAME] [key=value …]`: run the missing parts of a study as jobs."""

from configs.command import experiment_parser, parse
from configs.schema import Experiment

PURPOSE = "Train all seeds, analyze every checkpoint and write the report, as jobs; do only what is missing."


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m launch", PURPOSE)
    parser.add_argument("--cluster", metavar="NAME", help="profile in configs/cluster, or the path of a YAML file")
    parser.add_argument("--follow", action="store_true", help="SLURM: stay, and analyze checkpoints during training")
    experiment, options = parse(parser, arguments, describe)
    from launch.study import run_study

    run_study(experiment, options.follow)


def describe(experiment: Experiment) -> str:
    from launch.describe import describe  # imports PyTorch; a wrong command line should fail without that delay

    return describe(experiment)
