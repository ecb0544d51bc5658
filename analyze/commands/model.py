"""python -m analyze model SOURCE [key=value …]: a model that others trained, with several numbers of DDIM steps."""

from configs.command import model_command

PURPOSE = "Analyses a model that others trained with several numbers of DDIM steps; does only what is missing."


def main(arguments: list[str]) -> None:
    study = model_command("python -m analyze model", PURPOSE, arguments)
    from analyze.model import analyse
    from analyze.model_report import collect

    collect(study, *analyse(study))
