"""`python -m analyze model SOURCE [key=value …]`: analyze a pretrained model with several numbers of DDIM steps."""

from configs.command import dry_run, model_command

PURPOSE = "Analyze a pretrained model with several numbers of DDIM steps; existing results are kept."


def main(arguments: list[str]) -> None:
    study, options = model_command("python -m analyze model", PURPOSE, arguments)
    from analyze.model import analyze_model, describe
    from analyze.report.model import collect

    if options.dry_run:
        print(dry_run(study, describe(study)))
        return
    collect(study, *analyze_model(study))
