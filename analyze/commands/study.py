"""`python -m analyze [study] CONFIG.yaml [key=value …]`: analyze all checkpoints that are not analyzed yet."""

from configs.command import experiment_command
from configs.schema import Experiment

PURPOSE = "Analyze every checkpoint that is not analyzed yet, and write the report."


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m analyze", PURPOSE, arguments, describe)
    from analyze.analysis import analyze_experiment
    from analyze.report.study import collect

    analyze_experiment(experiment)
    collect(experiment, half_trained=True)


def describe(experiment: Experiment) -> str:
    from analyze.estimate import estimate

    return estimate(experiment)
