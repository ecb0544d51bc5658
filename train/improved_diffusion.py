"""Checkpoints from and to improved-diffusion: model002500.pt and ema_0.9999_002500.pt, the same tensors and names.

python -m train.improved_diffusion export CHECKPOINT_FOLDER OUT_FOLDER
python -m train.improved_diffusion import CONFIG.yaml FOLDER [key=value …]
"""

import argparse
import re
from pathlib import Path

import torch

from configs.errors import UserError, run_command
from configs.load import load, to_yaml
from configs.schema import Experiment
from models.state_dict import check_fit, read_state_dict
from models.unet import UNet
from records import checkpoint
from records.atomic import atomic_file, write_text
from records.layout import seed_folder

FILE_NAME = re.compile(r"(model|ema_[\d.]+_)(\d{6,})\.pt")


def export(source: Path, out: Path) -> list[Path]:
    """Writes every set of weights of a checkpoint folder as improved-diffusion names it; the files written."""
    opened = checkpoint.read(source)
    written = []
    for name in opened.digests:
        file = out / (f"model{opened.step:06d}.pt" if name == "model" else f"{name}_{opened.step:06d}.pt")
        with atomic_file(file) as aside:
            torch.save(opened.weights(name), aside)
        written.append(file)
    return written


def import_folder(experiment: Experiment, source: Path) -> list[Path]:
    """Makes checkpoint folders of an experiment from all weights that improved-diffusion left; the folders.

    The experiment says what the files do not: the model and the diffusion. Raises UserError where they do not fit,
    and where the folder holds no such files.
    """
    by_step: dict[int, dict[str, checkpoint.Weights]] = {}
    with torch.device("meta"):
        network = UNet.of(experiment.model, experiment.diffusion)
    for file in sorted(source.glob("*.pt")):
        if found := FILE_NAME.fullmatch(file.name):
            weights = read_state_dict(file)
            check_fit(network, weights, file)
            by_step.setdefault(int(found[2]), {})[found[1].rstrip("_")] = weights
    if not by_step:
        raise UserError(f"{source} holds no model*.pt or ema_*.pt files of improved-diffusion")
    folder = seed_folder(experiment, experiment.seed)
    write_text(folder.config, to_yaml(experiment))
    for step, sets in sorted(by_step.items()):
        path = folder.checkpoint(step)
        checkpoint.write(path, step, experiment.seed, experiment.model, experiment.diffusion, sets)
    return [folder.checkpoint(step) for step in sorted(by_step)]


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m train.improved_diffusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True)
    exporting = commands.add_parser("export", help="write a checkpoint folder as improved-diffusion's .pt files")
    exporting.add_argument("checkpoint", type=Path, help="e.g. runs/cifar10/seed_0/checkpoints/000002500")
    exporting.add_argument("out", type=Path, help="folder to write to")
    importing = commands.add_parser("import", help="make checkpoint folders from improved-diffusion's .pt files")
    importing.add_argument("config", help="YAML file that describes the model and the diffusion")
    importing.add_argument("folder", type=Path, help="folder with model*.pt and ema_*.pt")
    importing.add_argument("overrides", nargs="*", default=[], metavar="key=value")
    asked = parser.parse_args(arguments)
    if asked.command == "export":
        paths = export(asked.checkpoint, asked.out)
    else:
        paths = import_folder(load(asked.config, asked.overrides), asked.folder)
    print("\n".join(map(str, paths)))


if __name__ == "__main__":
    run_command(main)
