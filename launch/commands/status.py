"""python -m launch status CONFIG.yaml [key=value …]: where a study stands, from its files and from SLURM."""

from configs.command import experiment_command

PURPOSE = "Shows jobs and checkpoints: waiting, running, done, failed with the reason and the log."


def main(arguments: list[str]) -> None:
    experiment = experiment_command("python -m launch status", PURPOSE, arguments)
    from launch.status import status

    print(status(experiment))
