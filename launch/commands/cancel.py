"""`python -m launch cancel CONFIG.yaml [key=value …]`: cancel all SLURM jobs of a study."""

from configs.command import study_command

PURPOSE = "Cancel all SLURM jobs of a study; saved work is kept, rerun python -m launch to resume."


def main(arguments: list[str]) -> None:
    study = study_command("python -m launch cancel", PURPOSE, arguments)
    from launch.slurm.submit import cancel

    print(cancel(study))
