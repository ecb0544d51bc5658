"""python -m launch CONFIG.yaml [key=value …]: the whole study, or what is missing of it, as jobs."""

from configs.command import experiment_command
from configs.errors import run_command


def main(arguments: list[str]) -> None:
    purpose = "Trains all seeds, analyses every checkpoint and writes the report, as jobs; does only what is missing."
    experiment = experiment_command("python -m launch", purpose, arguments)
    from launch.study import run_study

    run_study(experiment)


run_command(main)
