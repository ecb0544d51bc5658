"""Atomic files and folders: complete or missing, even if the process or the machine dies."""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"  # prefix of files and folders that are being written


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write a file to; on exit the file is synced to disk and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{PARTIAL}{path.name}-{uuid.uuid4().hex[:8]}"
    try:
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    with atomic_file(path) as partial:
        partial.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a file of JSON. Raises OSError if it cannot be opened, and ValueError if its content is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("its content is nested too deeply") from None


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder to fill; on exit the folder is synced to disk and renamed to `path`.

    An existing `path` is not replaced: another process has written the same content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f"{PARTIAL}{path.name}-{uuid.uuid4().hex[:8]}"
    partial.mkdir()
    try:
        yield partial
        for file in partial.rglob("*"):
            _sync(file)
        _sync(partial)
        if not path.exists():
            partial.rename(path)
            _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear_partial(folder: Path, name: str = "*") -> None:
    """Remove the partial files and folders in `folder` that killed processes left, of one `name` or of all.

    Another process may remove them at the same time.
    """
    for path in folder.glob(f"{PARTIAL}{name}-*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
