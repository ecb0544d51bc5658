"""`python -m analyze model SOURCE [key=value …]`: analyze a pretrained model with several numbers of DDIM steps."""

from configs.command import model_command
from configs.load import to_yaml

PURPOSE = "Analyze a pretrained model with several numbers of DDIM steps; existing results are kept."


def main(arguments: list[str]) -> None:
    study, options = model_command("python -m analyze model", PURPOSE, arguments)
    from analyze.model import analyze_model, describe
    from analyze.report.model import collect

    if options.dry_run:
        print(to_yaml(study), describe(study), sep="\n")
        return
    collect(study, *analyze_model(study))
