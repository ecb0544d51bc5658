"""Run folders of training: opened under one configuration, and never resumed under a different one."""

import dataclasses
import itertools

from configs.errors import UserError
from configs.load import differences, load_resolved, to_yaml
from configs.schema import Experiment, Train
from records.atomic import write_text
from records.human import human_time
from records.layout import SeedFolder, model_file, saved_steps
from records.tracking.points import STEP, read_points

SLACK_MINUTES = 10  # for a step to end and a state to be written


def open_run_folder(folder: SeedFolder, experiment: Experiment) -> None:
    """Check the configuration and write config.yaml.

    Raises UserError if the run was started with a different configuration, if its folder belongs to a pretrained
    model, or if its state was removed, so that training would start from the beginning.
    """
    if model_file(experiment).exists():
        raise UserError(
            f"{folder.root.parent} contains the analysis of a pretrained model; give the experiment another name=…"
        )
    check_config(folder, experiment)
    _check_resumable(folder, experiment.train)
    write_text(folder.config, to_yaml(experiment))


def check_config(folder: SeedFolder, experiment: Experiment) -> None:
    """Raise UserError if the run was started with a configuration that `experiment` cannot resume.

    A folder in which no training step was logged or saved, as after a failed download, can be reused.
    """
    if not folder.config.exists() or not _has_started(folder):
        return
    try:
        original = load_resolved(folder.config)
    except UserError as error:
        remedy = "correct it, or remove it if the configuration of the run has not changed"
        raise UserError(f"{error}; {remedy}") from None
    changes = differences(original, dataclasses.replace(experiment, seed=original.seed))
    if changes:
        raise UserError(
            f"{folder.root} was created with a different configuration ({'; '.join(changes)}); "
            f"set these options as before, give the experiment another name=…, or correct {folder.config} if it was "
            "changed later"
        )


def _check_resumable(folder: SeedFolder, options: Train) -> None:
    """Raise UserError if the state was removed; a run that ended before its first state can start again.

    If the disk was too full for the first state, the run ended when the second one was due.
    """
    if saved_steps(folder.state):
        return
    if steps := folder.trained_steps():
        raise UserError(
            f"{folder.root} is trained to step {steps[-1]:,} and has no training state to continue "
            "from; analyze it, or give the experiment another name=…"
        )
    logged_s = _logged_seconds(folder, options.batch_size)
    recorded = load_resolved(folder.config).train if folder.config.exists() else options
    if logged_s > max(_first_state_s(options), _first_state_s(recorded)):
        raise UserError(
            f"{folder.root} was trained for {human_time(logged_s)} and has no training state to continue from; restore "
            f"{folder.state}, give the experiment another name=…, or remove {folder.root} to train from the beginning"
        )


def _first_state_s(options: Train) -> float:
    """Return the training time after which a state must exist, with these options."""
    return 60 * (2 * options.state_every_minutes + SLACK_MINUTES)


def _logged_seconds(folder: SeedFolder, batch_size: int) -> float:
    """Return how long the logged training took, from the speed of each logged step."""
    points = [{STEP: 0}, *(point for point in read_points(folder.speed) if point.get("images_per_s"))]
    pairs = itertools.pairwise(points)
    return sum((end[STEP] - start[STEP]) * batch_size / end["images_per_s"] for start, end in pairs)


def _has_started(folder: SeedFolder) -> bool:
    has_log = folder.log.exists() and folder.log.stat().st_size > 0
    return bool(has_log or saved_steps(folder.checkpoints) or saved_steps(folder.state))
