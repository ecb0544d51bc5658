"""python -m analyze model SOURCE [key=value …]: a model that others trained, with several numbers of DDIM steps."""

from configs.command import model_command
from configs.load import to_yaml

PURPOSE = "Analyses a model that others trained with several numbers of DDIM steps; does only what is missing."


def main(arguments: list[str]) -> None:
    study, asked = model_command("python -m analyze model", PURPOSE, arguments)
    from analyze.model import analyze_model, describe
    from analyze.report.model import collect

    if asked.dry_run:
        print(to_yaml(study), describe(study), sep="\n")
        return
    collect(study, *analyze_model(study))
