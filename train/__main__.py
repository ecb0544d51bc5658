"""python -m train CONFIG.yaml [key=value …]: train one seed of an experiment, or resume its training."""

from configs.command import experiment_command
from configs.errors import run_command
from configs.schema import Experiment


def describe(experiment: Experiment) -> str:
    from train.estimate import estimate  # imports PyTorch, which --help and rejected options do not need

    return estimate(experiment)


def main(arguments: list[str]) -> None:
    purpose = "Train one seed of an experiment, or resume its training."
    experiment = experiment_command("python -m train", purpose, arguments, describe)
    from train.trainer import train

    train(experiment)


run_command(main)
