"""Run folders of training: opened under one configuration, and never resumed under a different one."""

import dataclasses

from configs.errors import UserError
from configs.load import differences, load_resolved, to_yaml
from configs.schema import Experiment
from records.atomic import write_text
from records.layout import SeedFolder, model_file, saved_steps


def open_run_folder(folder: SeedFolder, experiment: Experiment) -> None:
    """Check the configuration and write config.yaml.

    Raises UserError if the run was started with a different configuration, if its folder belongs to a pretrained
    model, or if it is trained and its state was removed, so that training would start from the beginning.
    """
    if model_file(experiment).exists():
        raise UserError(
            f"{folder.root.parent} contains the analysis of a pretrained model; give the experiment another name=…"
        )
    check_config(folder, experiment)
    _check_resumable(folder)
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


def _check_resumable(folder: SeedFolder) -> None:
    if (steps := folder.trained_steps()) and not saved_steps(folder.state):
        raise UserError(
            f"{folder.root} is trained to step {steps[-1]:,} and has no training state to continue "
            "from; analyze it, or give the experiment another name=…"
        )


def _has_started(folder: SeedFolder) -> bool:
    has_log = folder.log.exists() and folder.log.stat().st_size > 0
    return bool(has_log or saved_steps(folder.checkpoints) or saved_steps(folder.state))
