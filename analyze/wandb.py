"""The analysis of a seed as one W&B run: every curve against the training step, and pictures."""

import hashlib
import json

import wandb

from analyze.analysis import SeedAnalysis
from analyze.curves import seed_points
from records.durable import write_text
from records.pictures import LATENT_RANGE, strip
from records.tracking import Point, open_run


def publish(analysis: SeedAnalysis) -> None:
    """Logs the points of a seed's analysis in the order of steps, unless just these were logged before."""
    points = seed_points(analysis)
    marker = analysis.folder / "wandb_published"
    digest = hashlib.sha256(json.dumps(points).encode()).hexdigest()
    if not points or (marker.exists() and marker.read_text(encoding="utf-8") == digest):
        return
    tracked = open_run(analysis.experiment, analysis.run, analysis.seed, "analysis")
    for point in points:
        tracked.log(point | _pictures(analysis, int(point["step"])))
    tracked.finish()
    if not tracked.failure:
        write_text(marker, digest)


def _pictures(analysis: SeedAnalysis, step: int) -> Point:
    here = analysis.tensors(step)
    shown = analysis.options.pictures
    return {
        "pictures/samples": wandb.Image(strip(here["samples"][:shown])),
        "pictures/latents": wandb.Image(strip(here["latents"][:shown], LATENT_RANGE)),
    }
