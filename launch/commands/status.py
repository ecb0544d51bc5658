"""`python -m launch status CONFIG.yaml [key=value …]`: status of a study, from its files and SLURM."""

from configs.command import experiment_command

PURPOSE = "Show jobs and checkpoints: pending, running, done, or failed with the reason and the log."


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m launch status", PURPOSE, arguments)
    from launch.status import status

    print(status(experiment))
