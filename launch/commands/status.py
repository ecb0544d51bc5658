"""`python -m launch status CONFIG.yaml [key=value …]`: status of a study, from its files and SLURM."""

from configs.command import study_command

PURPOSE = "Show jobs and results: pending, running, done, or failed with the reason and the log."


def main(arguments: list[str]) -> None:
    study = study_command("python -m launch status", PURPOSE, arguments)
    from launch.status import status

    print(status(study))
