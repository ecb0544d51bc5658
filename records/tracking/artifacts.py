"""The checkpoints of a training run as a W&B artifact, logged by training and used by analyses.

One artifact contains all checkpoints of a run: hundreds of versions would make the lineage unreadable. Nothing is
uploaded. Each entry is the path and the MD5 of a `checkpoint.json`, which contains the SHA-256 of the weights files.
Thus the artifact's digest, by which W&B identifies equal artifacts, depends on every weight.
"""

import hashlib
import re

import wandb

from configs.schema import Experiment
from records.layout import SeedFolder, saved_steps

KIND = "checkpoints"
MAX_CHARACTERS = 110


def checkpoints_artifact(experiment: Experiment, folder: SeedFolder) -> wandb.Artifact:
    """Return the artifact of all complete checkpoints; equal checkpoints give equal artifacts."""
    steps = saved_steps(folder.checkpoints)
    artifact = wandb.Artifact(
        artifact_name(f"{experiment.name}-{folder.root.name}-checkpoints"),
        KIND,
        description="Checkpoints by reference: each checkpoint.json contains the SHA-256 of its weights files.",
        metadata={"folder": str(folder.checkpoints.resolve()), "count": len(steps), "steps": steps},
    )
    for step in steps:
        file = folder.checkpoint(step) / "checkpoint.json"
        artifact.add_reference(file.resolve().as_uri(), name=str(file.relative_to(folder.checkpoints)))
    return artifact


def artifact_name(name: str) -> str:
    """Return a name that W&B allows: ASCII letters, digits, "_", "-" and ".", at most 128; a digest replaces others."""
    allowed = re.sub(r"[^a-zA-Z0-9_.-]", "", name)[:MAX_CHARACTERS]
    return name if name == allowed else f"{allowed}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
