"""python -m launch cancel CONFIG.yaml [key=value …]: ends all jobs of a study that SLURM has."""

from configs.command import experiment_command

PURPOSE = "Ends all jobs of a study that SLURM has; what they saved is kept, and launching again goes on from it."


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m launch cancel", PURPOSE, arguments)
    from launch.slurm.submit import cancel

    print(cancel(experiment))
