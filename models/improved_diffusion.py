"""Conversion of checkpoints to and from improved-diffusion's files: model002500.pt and ema_0.9999_002500.pt.

Tensors and their names are the same in both.

python -m models.improved_diffusion CONFIG.yaml FOLDER [key=value …]   converts its files to checkpoint folders
python -m models.export CHECKPOINT --to improved-diffusion FOLDER      converts a checkpoint to its files
"""

import argparse
import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from configs.checks import checkpoint_steps
from configs.errors import UserError, run_command
from configs.load import load, to_yaml
from configs.schema import Experiment
from models.state_dict import check_fit, read_state_dict
from models.unet import UNet
from records import checkpoint
from records.atomic import atomic_file, write_text
from records.layout import SeedFolder, saved_steps, seed_folder
from records.run_lock import hold_run

FILE_NAME = re.compile(r"(model|ema_[\d.]+_)(\d{6,})\.pt")

Files = dict[int, dict[str, Path]]  # by step and name of the weights


def export_checkpoint(source: Path, out: Path, weights: str | None = None) -> list[Path]:
    """Write a set of weights of a checkpoint folder, or all, under improved-diffusion's names; return the files."""
    opened = checkpoint.read(source)
    files = []
    for name in [weights] if weights else opened.digests:
        file = out / (f"model{opened.step:06d}.pt" if name == "model" else f"{name}_{opened.step:06d}.pt")
        with atomic_file(file) as partial:
            torch.save(opened.weights(name), partial)
        files.append(file)
    return files


def import_folder(experiment: Experiment, source: Path) -> list[Path]:
    """Write all weights in a folder of improved-diffusion as checkpoints of an experiment; return their folders.

    The experiment supplies the model and the diffusion, which the files do not describe. Checkpoints of an interrupted
    import are kept. Raises UserError if the weights do not fit the model, if the folder contains none, and if the run
    folder is in use or contains anything else.
    """
    files, folder = _files_by_step(source), seed_folder(experiment, experiment.seed)
    with torch.device("meta"):
        network = UNet.from_config(experiment.model, experiment.diffusion)
    _read(files[min(files)], network)  # before anything is written: most misfits are those of all files
    with hold_run(folder, "importing"):
        _check_run_folder(folder, experiment, files, network)
        _write_checkpoints(folder, experiment, files, network)
    return [folder.checkpoint(step) for step in sorted(files)]


def _check_run_folder(folder: SeedFolder, experiment: Experiment, files: Files, network: UNet) -> None:
    """Raise UserError if a run folder contains more than checkpoints that these files and options result in."""
    if folder.log.exists() or saved_steps(folder.state):
        raise UserError(f"{folder.root} contains a training; give the experiment another name=…")
    for step in saved_steps(folder.checkpoints):
        path = folder.checkpoint(step)
        if step not in files or not _is_result(path, experiment, _read(files[step], network)):
            raise UserError(
                f"{path} was not written from these files with these options; give the experiment another name=…"
            )


def _is_result(path: Path, experiment: Experiment, sets: dict[str, checkpoint.Weights]) -> bool:
    """Return whether a checkpoint contains exactly these sets of weights, with the experiment's model."""
    opened = checkpoint.read(path)
    if (opened.model, opened.diffusion) != (experiment.model, experiment.diffusion):
        return False
    return opened.digests.keys() == sets.keys() and all(_equal(opened.weights(name), sets[name]) for name in sets)


def _equal(first: checkpoint.Weights, second: checkpoint.Weights) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype and torch.equal(first[name], second[name]) for name in first
    )


def _write_checkpoints(folder: SeedFolder, experiment: Experiment, files: Files, network: UNet) -> None:
    """Write the missing checkpoints, one at a time because a run may exceed the memory."""
    seed, model, diffusion = experiment.seed, experiment.model, experiment.diffusion
    write_text(folder.config, to_yaml(experiment))
    write_text(folder.trained(max(files)), "")  # so that no training starts from the beginning in this folder
    for step in sorted(files.keys() - set(saved_steps(folder.checkpoints))):
        checkpoint.write(folder.checkpoint(step), step, seed, model, diffusion, _read(files[step], network))


def _files_by_step(source: Path) -> Files:
    """Return the files of weights in a folder by step and name of the weights. Raises UserError if it has none."""
    by_step: Files = {}
    for file in sorted(source.glob("*.pt")):
        if match := FILE_NAME.fullmatch(file.name):
            by_step.setdefault(int(match[2]), {})[match[1].rstrip("_")] = file
    if not by_step:
        raise UserError(f"{source} contains no model*.pt or ema_*.pt files of improved-diffusion")
    return by_step


def _read(files: dict[str, Path], network: UNet) -> dict[str, checkpoint.Weights]:
    """Return the sets of weights of a step by name. Raises UserError if one does not fit the network."""
    weights = {name: read_state_dict(file) for name, file in files.items()}
    for name, tensors in weights.items():
        check_fit(network, tensors, files[name])
    return weights


def left_out(experiment: Experiment, steps: Sequence[int]) -> str:
    """Return a warning about steps that the experiment's schedule does not contain; empty if there are none."""
    options = experiment.train
    others = set(steps) - set(checkpoint_steps(options.checkpoints, options.steps))
    if others:
        problem = f"{len(others):,} of {len(steps):,} checkpoints are not in the experiment's schedule and not analyzed"
    elif max(steps) < options.steps:
        problem = f"the schedule ends at step {options.steps:,}, so the analysis is preliminary"
    else:
        return ""
    stride = math.gcd(*steps)
    return f"warning: {problem}; set train.steps={max(steps)} 'train.checkpoints.strides=[{{every: {stride}}}]'"


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m models.improved_diffusion", description="write improved-diffusion's files as checkpoint folders"
    )
    parser.add_argument("config", help="YAML file that describes the model and the diffusion")
    parser.add_argument("folder", type=Path, help="folder with model*.pt and ema_*.pt")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    parsed = parser.parse_args(arguments)
    experiment = load(parsed.config, parsed.overrides)
    paths = import_folder(experiment, parsed.folder)
    print("\n".join(map(str, paths)))
    if warning := left_out(experiment, [int(path.name) for path in paths]):
        print(warning, file=sys.stderr)


if __name__ == "__main__":
    run_command(main)
