"""python -m train CONFIG.yaml [key=value …]: trains one seed of an experiment, or goes on with it."""

from configs.command import experiment_command
from configs.errors import run_command


def main(arguments: list[str]) -> None:
    experiment = experiment_command(
        "python -m train", "Trains one seed of an experiment, or goes on with it.", arguments
    )
    from train.trainer import train

    train(experiment)


run_command(main)
