"""The checkpoints of a training run as a W&B artifact: what training makes and an analysis uses.

One artifact a run, not one a checkpoint: hundreds of versions with nothing said between them would bury the lineage.
Nothing is uploaded. Each entry is the path and the MD5 of a `checkpoint.json`, and that file holds the SHA-256 of all
weights beside it, so the artifact's own digest, by which W&B knows two of them for one, is a function of every weight.
"""

import wandb

from configs.schema import Experiment
from records.layout import SeedFolder, saved_steps

KIND = "checkpoints"


def checkpoints_artifact(experiment: Experiment, folder: SeedFolder) -> wandb.Artifact:
    """The checkpoints that are there: whoever makes it of the same ones makes the same."""
    steps = saved_steps(folder.checkpoints)
    artifact = wandb.Artifact(
        f"{experiment.name}-{folder.root.name}-checkpoints",
        KIND,
        description="Checkpoints by reference: each checkpoint.json holds the SHA-256 of the weights beside it.",
        metadata={"folder": str(folder.checkpoints.resolve()), "count": len(steps), "steps": steps},
    )
    for step in steps:
        about = folder.checkpoint(step) / "checkpoint.json"
        artifact.add_reference(about.resolve().as_uri(), name=str(about.relative_to(folder.checkpoints)))
    return artifact
