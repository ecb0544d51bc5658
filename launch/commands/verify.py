"""`python -m launch verify CONFIG.yaml [--repair] [key=value …]`: read all files of a study and check them."""

from contextlib import nullcontext

from configs.command import parse_study, study_parser
from configs.errors import UserError

PURPOSE = "Check checkpoints, states, logs, results and tensors; name what is damaged and how to repair it."


def main(arguments: list[str]) -> None:
    parser = study_parser("python -m launch verify", PURPOSE)
    parser.add_argument("--repair", action="store_true", help="remove damaged files that the next launch makes again")
    study, options = parse_study(parser, arguments)
    from launch.study import exclusive, launcher_of
    from launch.verify import verify

    with exclusive(launcher_of(study)) if options.repair else nullcontext():
        text, damaged = verify(study, options.repair)
    print(text)
    if damaged:
        raise UserError(f"{damaged} damaged; every line above ends with the remedy")
