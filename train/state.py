"""Training state for resuming, separate from checkpoints: the newest two, each written atomically.

state/000002500/  state.pt  digest.json
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError, first_line, is_unreadable
from records.atomic import atomic_folder, file_digest, read_json, write_json
from records.layout import saved_steps, step_name

MAX_STATES = 2
STATE_FILE, DIGEST_FILE = "state.pt", "digest.json"


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Save the state after `step` steps, and remove all but the newest states."""
    _remove_if_damaged(folder / step_name(step))
    with atomic_folder(folder / step_name(step)) as partial:
        buffer = io.BytesIO()  # torch.save straight to a file hides the reason if the disk is full
        torch.save({"step": step, **state}, buffer)
        (partial / STATE_FILE).write_bytes(buffer.getbuffer())
        write_json(partial / DIGEST_FILE, {STATE_FILE: file_digest(partial / STATE_FILE)})
    for old_step in saved_steps(folder)[:-MAX_STATES]:
        shutil.rmtree(folder / step_name(old_step))


def _remove_if_damaged(path: Path) -> None:
    """Remove a damaged state, in place of which an older one was loaded; `atomic_folder` would keep it."""
    try:
        if path.exists():
            check(path)
    except Exception as error:  # of reading digest.json as well
        if _is_damage(error):
            shutil.rmtree(path)


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest state, or None if no state was saved."""
    return max(saved_steps(folder), default=None)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """Load the newest undamaged state on the CPU; return None if no state was saved.

    Raises UserError if states exist but all are damaged, because only the user can decide to start over, and OSError or
    MemoryError if the disk or the memory fails, which says nothing about the states.
    """
    steps = saved_steps(folder)
    for step in reversed(steps):
        file = folder / step_name(step) / STATE_FILE
        try:
            check(file.parent)
            return _read(file)
        except Exception as error:  # PyTorch's reader raises many types for damaged files
            if not _is_damage(error):
                raise
            print(f"warning: {file} cannot be read ({first_line(error)}); trying an older state", file=sys.stderr)
    if steps:
        raise UserError(
            f"{folder}: no saved state can be read; remove the folder to train from the beginning (a finished run can "
            "then be analyzed, but not continued)"
        )
    return None


def _is_damage(error: Exception) -> bool:
    """Return whether an error of reading a state comes from its content."""
    is_full = isinstance(error, MemoryError) or "allocate memory" in str(error)  # PyTorch raises RuntimeError
    return not (is_full or is_unreadable(error))


def _read(file: Path) -> dict[str, Any]:
    # On the CPU, because a GPU may not have the memory for a second copy.
    saved = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(saved, dict) or not isinstance(saved.get("step"), int):
        raise ValueError("it is not a training state")
    return saved


def check(folder: Path) -> None:
    """Compare a state with its digest, because torch.load does not detect a flipped bit.

    Raises OSError, ValueError or KeyError if the folder is incomplete or has changed.
    """
    if read_json(folder / DIGEST_FILE)[STATE_FILE] != file_digest(folder / STATE_FILE):
        raise ValueError("its digest does not match digest.json")
