"""The code as it was when jobs were launched: they run a copy of it, whatever is edited meanwhile."""

import hashlib
import os
import shutil
from pathlib import Path

from configs.schema import Experiment
from records.atomic import atomic_folder
from records.layout import code_folder
from records.provenance import commit

HERE = Path(__file__).parent.parent
ROOMS = ("configs", "records", "diffusion", "models", "train", "analyze", "launch")


def snapshot(experiment: Experiment) -> Path:
    """The folder that holds a copy of this code, named by its content and made where it is not there yet."""
    files = sorted(file for room in ROOMS for file in (HERE / room).rglob("*") if _is_code(file))
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(HERE)).encode() + b"\0" + file.read_bytes() + b"\0")
    folder = code_folder(experiment, digest.hexdigest()[:16]).resolve()
    if not folder.exists():
        with atomic_folder(folder) as aside:
            for file in files:
                copy = aside / file.relative_to(HERE)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
            (aside / "commit").write_text(commit(), encoding="utf-8")
    return folder


def _is_code(file: Path) -> bool:
    return file.is_file() and "__pycache__" not in file.parts


def environment(code: Path) -> dict[str, str]:
    """What a Python process has to be told to run that code, wherever it is started."""
    path = ":".join([str(code), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # safe: not the code of the working directory
