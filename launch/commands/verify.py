"""`python -m launch verify CONFIG.yaml [--repair] [key=value …]`: read all files of an experiment and check them."""

from configs.command import experiment_parser, parse

PURPOSE = "Check checkpoints, states, logs, results and tensors; name what is damaged and how to repair it."


def main(arguments: list[str]) -> None:
    parser = experiment_parser("python -m launch verify", PURPOSE)
    parser.add_argument("--repair", action="store_true", help="remove damaged files that the next launch makes again")
    experiment, options = parse(parser, arguments)
    from launch.verify import verify

    print(verify(experiment, options.repair))
