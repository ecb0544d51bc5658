"""python -m launch [study] CONFIG.yaml [--cluster NAME] [key=value …]: the study, or what is missing of it, as jobs."""

from configs.command import experiment_parser, parsed
from configs.schema import Experiment

PURPOSE = "Trains all seeds, analyses every checkpoint and writes the report, as jobs; does only what is missing."


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m launch", PURPOSE)
    parser.add_argument("--cluster", metavar="NAME", help="profile of configs/cluster, or a YAML file of your own")
    parser.add_argument("--follow", action="store_true", help="SLURM: stay, and analyse while training goes on")
    experiment, asked = parsed(parser, arguments, describe)
    from launch.study import run_study

    run_study(experiment, asked.follow)


def describe(experiment: Experiment) -> str:
    from launch.describe import describe  # imports PyTorch, which most wrong command lines can do without

    return describe(experiment)
