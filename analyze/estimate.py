"""Cost of an analysis before it starts: checkpoints, FLOP and disk, for --dry-run."""

from analyze.analysis import SeedAnalysis
from configs.schema import Analyze, Experiment
from models.flops import forward_flop
from records.human import human_size

TENSORS = 3  # per checkpoint: samples, their latents, and latents of the last checkpoint's samples
FLOAT_BYTES = 4


def evaluations_per_image(options: Analyze) -> int:
    """Return the network evaluations per image of a checkpoint: it is generated, and two images are inverted."""
    return options.ddim_steps + (TENSORS - 1) * (options.inversion_steps or options.ddim_steps)


def estimate(experiment: Experiment) -> str:
    """Return the table printed by --dry-run; measures that run the network at the last checkpoint are not included."""
    analyses = [SeedAnalysis(experiment, seed) for seed in experiment.seeds]
    saved = sum(len(analysis.steps) for analysis in analyses)
    missing = sum(len(analysis.missing()) for analysis in analyses)
    options, model = experiment.analyze, experiment.model
    evaluations = missing * options.samples * evaluations_per_image(options)
    flop = evaluations * forward_flop(model, experiment.diffusion)
    values = missing * TENSORS * options.samples * model.in_channels * model.image_size**2
    return "\n".join(
        [
            f"checkpoints   {missing} of {saved} saved ones to analyze",
            f"operations    about {evaluations:,} network evaluations, {flop:.2g} FLOP",
            f"disk          about {human_size(values * FLOAT_BYTES)} of images and latents",
        ]
    )
