"""python -m analyze [study] CONFIG.yaml [key=value …]: analyses every checkpoint that is there and not yet done."""

from configs.command import experiment_command

PURPOSE = "Analyses every checkpoint that is there and not yet done, and writes the report."


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m analyze", PURPOSE, arguments)
    from analyze.study import analyse, collect

    analyse(experiment)
    collect(experiment)
