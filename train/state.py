"""What resuming needs: kept apart from checkpoints, the newest two, each complete or not there."""

import io
import json
import pickle
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError, first_line
from records.atomic import atomic_folder, clear_partial, file_digest, write_json
from records.layout import saved_steps, step_name

KEPT = 2
FILE, DIGEST = "state.pt", "digest.json"


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Saves the state after `step` steps and removes all but the newest ones."""
    with atomic_folder(folder / step_name(step)) as aside:
        content = io.BytesIO()  # not the file itself: on a full disk torch.save fails with no word about it
        torch.save({"step": step, **state}, content)
        (aside / FILE).write_bytes(content.getbuffer())
        write_json(aside / DIGEST, {FILE: file_digest(aside / FILE)})
    for old in saved_steps(folder)[:-KEPT]:
        shutil.rmtree(folder / step_name(old))


def newest(folder: Path) -> int | None:
    """The step of the newest state, or None where there is none."""
    return max(saved_steps(folder), default=None)


def load_newest(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest state that can be read, or None where training has not got to one.

    Raises UserError where there are states and none can be read: starting again is not ours to decide.
    """
    clear_partial(folder)
    steps = saved_steps(folder)
    for step in reversed(steps):
        file = folder / step_name(step) / FILE
        try:
            # PyTorch's reader takes a file with a wrong bit for good.
            if json.loads(file.with_name(DIGEST).read_text(encoding="utf-8"))[FILE] != file_digest(file):
                raise ValueError("its digest is not the one that was written")
            location = "cpu" if device.type == "cpu" else device  # it does not know the "cpu:1" of a second process
            return torch.load(file, map_location=location, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
            print(f"warning: {file} cannot be read ({first_line(error)}); trying the one before", file=sys.stderr)
    if steps:
        raise UserError(
            f"{folder}: none of the saved states can be read; remove the folder to train from the beginning"
        )
    return None
