"""Whose run folder it is: made with one configuration, and gone on with by no other."""

import dataclasses

from configs.errors import UserError
from configs.load import differences, load_resolved, to_yaml
from configs.schema import Experiment
from records.atomic import clear_partial, write_text
from records.layout import SeedFolder, saved_steps


def claim(folder: SeedFolder, experiment: Experiment) -> None:
    """Writes the configuration into the run folder. Raises UserError where another one made what is there."""
    check_config(folder, experiment)
    clear_partial(folder.checkpoints)
    write_text(folder.config, to_yaml(experiment))


def check_config(folder: SeedFolder, experiment: Experiment) -> None:
    """Raises UserError where a run folder was made with a configuration that this one cannot go on from.

    A folder in which nothing was trained, since its data could not be had, is anyone's.
    """
    if folder.config.exists() and _is_begun(folder):
        made_with = load_resolved(folder.config)
        changed = differences(made_with, dataclasses.replace(experiment, seed=made_with.seed))
        if changed:
            raise UserError(
                f"{folder.root} was made with another configuration ({'; '.join(changed)}); "
                "give the experiment another name=… or remove the folder"
            )


def _is_begun(folder: SeedFolder) -> bool:
    said = folder.log.exists() and folder.log.stat().st_size > 0
    return bool(said or saved_steps(folder.checkpoints) or saved_steps(folder.state))


def is_trained(folder: SeedFolder, steps: int) -> bool:
    """Whether training has got to its last step, and nothing of it is left to do but what W&B may lack."""
    return folder.checkpoint(steps).exists() and folder.trained(steps).exists()
