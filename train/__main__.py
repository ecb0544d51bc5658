"""python -m train CONFIG.yaml [key=value …]: trains one seed of an experiment, or goes on with it."""

from configs.command import experiment_command
from configs.errors import run_command
from configs.schema import Experiment


def describe(experiment: Experiment) -> str:
    from train.estimate import estimate  # imports PyTorch, which most wrong command lines can do without

    return estimate(experiment)


def main(arguments: list[str]) -> None:
    purpose = "Trains one seed of an experiment, or goes on with it."
    experiment = experiment_command("python -m train", purpose, arguments, describe)
    from train.trainer import train

    train(experiment)


run_command(main)
