"""python -m train CONFIG.yaml [key=value …]: train one seed of an experiment, or resume its training."""

import shlex

from configs.command import experiment_command
from configs.errors import run_command
from configs.schema import Experiment


def describe(experiment: Experiment) -> str:
    from train.estimate import estimate  # imports PyTorch, which --help and rejected options do not need

    return estimate(experiment)


def main(arguments: list[str]) -> None:
    purpose = "Train one seed of an experiment, or resume its training."
    experiment = experiment_command("python -m train", purpose, arguments, describe)
    from accelerate import PartialState

    from train.trainer import train

    train(experiment)
    if PartialState().is_main_process:
        seeds = [] if experiment.seeds == [experiment.seed] else [f"seeds=[{experiment.seed}]"]
        print(f"Analyze the checkpoints with  python -m analyze {shlex.join([*arguments, *seeds])}")


run_command(main)
