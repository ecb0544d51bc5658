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
    from analyze.report.inversion import findings, write_inverter_report

    results = compare_inverters(study)
    report, ordered = write_inverter_report(study, results), list(results.values())
    print("\n".join(["", to_markdown(ordered), *findings(ordered, study.analyze.ddim_steps)]))
    print(f"\nReport: {report}\nTable:  {report.with_suffix('.md')}")
