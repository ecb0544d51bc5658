"""Training state for resuming, separate from checkpoints: the newest two, each written atomically.

state/000002500/  state.pt  digest.json
"""

import io
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from configs.errors import UserError, first_line, is_full_memory, is_unreadable
from records.atomic import atomic_folder, file_digest, read_json, write_json
from records.layout import saved_steps, step_name

MAX_STATES = 2
# What applying a state of another training raises, or a full memory.
APPLY_ERRORS = (KeyError, IndexError, TypeError, ValueError, RuntimeError, AttributeError, MemoryError)
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
        shutil.rmtree(folder / step_name(old_step), ignore_errors=True)  # the next save tries again


def _remove_if_damaged(path: Path) -> None:
    """Remove a damaged state, in place of which an older one was loaded; `atomic_folder` would keep it."""
    try:
        if path.exists():
            check(path)
    except Exception as error:  # a damaged digest.json raises many types
        if _is_damage(error):
            shutil.rmtree(path)


def newest_step(folder: Path) -> int | None:
    """Return the step of the newest state, or None if no state was saved."""
    return max(saved_steps(folder), default=None)


def load_newest(folder: Path) -> dict[str, Any] | None:
    """Load the newest undamaged state on the CPU; return None if no state was saved.

    Raises UserError if states exist but all are damaged, because only the user can decide to start over, or if the
    memory is full, and OSError if the disk fails, which says nothing about the states.
    """
    steps = saved_steps(folder)
    for step in reversed(steps):
        file = folder / step_name(step) / STATE_FILE
        try:
            check(file.parent)
            return _read(file)
        except Exception as error:  # PyTorch's reader raises many types for damaged files
            if is_full_memory(error):
                raise _too_large(file.parent, "cpu") from None
            if not _is_damage(error):
                raise
            print(f"warning: {file} cannot be read ({first_line(error)}); trying an older state", file=sys.stderr)
    if steps:
        raise UserError(
            f"{folder}: no saved state can be read; restore it, or remove {folder.parent} to train from the beginning "
            "(a finished run can be analyzed without it, but not continued)"
        )
    return None


def _is_damage(error: Exception) -> bool:
    """Return whether an error of reading a state comes from its content."""
    return not (is_full_memory(error) or is_unreadable(error))


def misfit(error: Exception, path: Path, device_type: str) -> UserError:
    """Return the error of a state that cannot be applied: because the memory is full, or it is of another training."""
    if is_full_memory(error):
        return _too_large(path, device_type if isinstance(error, torch.OutOfMemoryError) else "cpu")
    return UserError(f"{path} does not fit this training ({first_line(error)}); give the experiment another name=…")


def _too_large(path: Path, device_type: str) -> UserError:
    return UserError(
        f"the memory of the {device_type} device is too small to load {path}; end other programs that use it, or "
        "continue on a device with more memory"
    )


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
