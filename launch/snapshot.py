"""Snapshot of the code at launch: jobs run this copy, so later edits do not affect them."""

import hashlib
import os
import shutil
from pathlib import Path

from configs.schema import Experiment, ModelStudy
from records.atomic import atomic_folder
from records.layout import code_folder
from records.provenance import commit

HERE = Path(__file__).parent.parent
ROOMS = ("configs", "records", "diffusion", "models", "train", "analyze", "launch")


def snapshot(experiment: Experiment | ModelStudy) -> Path:
    """Return a folder with a copy of this code, named by a digest of its content; create it if it does not exist."""
    files = sorted(file for room in ROOMS for file in (HERE / room).rglob("*") if _is_code(file))
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(HERE)).encode() + b"\0" + file.read_bytes() + b"\0")
    folder = code_folder(experiment, digest.hexdigest()[:16]).resolve()
    if not folder.exists():
        with atomic_folder(folder) as partial:
            for file in files:
                copy = partial / file.relative_to(HERE)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
            (partial / "commit").write_text(commit(), encoding="utf-8")
    return folder


def _is_code(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def environment(code: Path) -> dict[str, str]:
    """Return the environment variables that make a Python process import a copy of the code from any directory."""
    path = ":".join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # safe path: do not import from the working directory
