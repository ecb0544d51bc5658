"""`python -m analyze inverters SOURCE [key=value …]`: compare how well inverters recover the noise of DDIM images."""

from configs.command import model_command
from configs.load import to_yaml

PURPOSE = "Compare inverters by the error of the recovered noise; existing results are kept."


def main(arguments: list[str]) -> None:
    study, options = model_command("python -m analyze inverters", PURPOSE, arguments)
    if options.dry_run:
        print(to_yaml(study))
        return
    from analyze.inversion import compare_inverters, to_markdown
    from records.atomic import write_text
    from records.layout import report_folder

    table, file = to_markdown(compare_inverters(study)), report_folder(study) / "inverters.md"
    write_text(file, table)
    print(f"{table}\nTable: {file}")
