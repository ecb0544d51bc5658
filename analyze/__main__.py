"""python -m analyze CONFIG.yaml [key=value …]: analyses every checkpoint that is there and not yet done."""

from configs.command import experiment_command
from configs.errors import run_command


def main(arguments: list[str]) -> None:
    purpose = "Analyses every checkpoint that is there and not yet done, and writes the report."
    experiment = experiment_command("python -m analyze", purpose, arguments)
    from analyze.study import analyse, collect

    analyse(experiment)
    collect(experiment)


run_command(main)
