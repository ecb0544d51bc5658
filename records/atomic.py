"""Files and folders that are either complete or not there, whenever the process or the machine dies."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"  # begins the name of everything that is being written


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A path to write a file at, which gets its name `path` only after all of it is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f"{PARTIAL}{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        yield aside
        _sync(aside)
        os.replace(aside, path)
        _sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    with atomic_file(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name `path` only after all of it is on the disk.

    One that has the name already is left as it is: whoever came first made the same.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.parent / f"{PARTIAL}{path.name}-{uuid.uuid4().hex[:8]}"
    aside.mkdir()
    try:
        yield aside
        for file in aside.rglob("*"):
            _sync(file)
        _sync(aside)
        if not path.exists():
            aside.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def clear_partial(folder: Path, name: str = "*") -> None:
    """Remove the partial files and folders in `folder` that killed processes left, of one `name` or of all."""
    for path in folder.glob(f"{PARTIAL}{name}-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """The digest of a file, which tells whether it is the one that was written."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
