"""`python -m launch [study] CONFIG.yaml [--cluster NAME] [key=value …]`: run the missing parts of a study as jobs."""

from configs.command import parse_study, study_parser
from configs.schema import Experiment, ModelStudy

PURPOSE = (
    "Train all seeds and analyze every checkpoint, or analyze a pretrained model, and write the report, as jobs; do "
    "only what is missing."
)


def main(arguments: list[str]) -> None:
    parser = study_parser("python -m launch", PURPOSE)
    parser.add_argument("--cluster", metavar="NAME", help="profile in configs/cluster, or the path of a YAML file")
    parser.add_argument("--follow", action="store_true", help="SLURM: stay, and analyze checkpoints during training")
    study, options = parse_study(parser, arguments, describe)
    from launch.study import run_study

    run_study(study, options.follow)


def describe(study: Experiment | ModelStudy) -> str:
    from launch.describe import describe  # imports PyTorch; a wrong command line should fail without that delay

    return describe(study)
