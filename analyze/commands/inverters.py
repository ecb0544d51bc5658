"""`python -m analyze inverters SOURCE [key=value …]`: compare how well inverters recover the noise of DDIM images."""

from configs.command import experiment_command, model_command
from configs.load import describes_experiment, to_yaml
from configs.schema import Measures

COMMAND = "python -m analyze inverters"
PURPOSE = "Compare inverters by the error of the recovered noise; existing results are kept."
SHORT_NAMES = {"inverters=": "analyze.measures.inverters=", "nfe=": "analyze.measures.inverter_nfe="}


def main(arguments: list[str]) -> None:
    arguments = [expand(argument) for argument in arguments]
    if not any(argument.startswith("analyze.measures.inverters=") for argument in arguments):
        arguments.append("analyze.measures.inverters=[]")
    if any(describes_experiment(argument) for argument in arguments):
        _compare_in_experiment(arguments)
    else:
        _compare_in_model(arguments)


def expand(argument: str) -> str:
    """Return the argument with the full name of an option that has a short name in this command."""
    for short, full in SHORT_NAMES.items():
        if argument.startswith(short):
            return full + argument.removeprefix(short)
    return argument


def _switch_on(measures: Measures) -> None:
    if measures.inversion_checkpoints == "none":
        measures.inversion_checkpoints = "last"


def _compare_in_experiment(arguments: list[str]) -> None:
    experiment = experiment_command(COMMAND, PURPOSE, arguments)
    _switch_on(experiment.analyze.measures)
    from analyze.analysis import analyze_experiment
    from analyze.report.inverters import collect

    collect(experiment, analyze_experiment(experiment, only="inverters"))


def _compare_in_model(arguments: list[str]) -> None:
    study, options = model_command(COMMAND, PURPOSE, arguments)
    if options.dry_run:
        print(to_yaml(study))
        return
    from analyze.model import analyze_model
    from analyze.report.inverters import collect

    study.sweep = [study.analyze.ddim_steps]
    _switch_on(study.analyze.measures)
    collect(study, analyze_model(study, only="inverters")[1])
