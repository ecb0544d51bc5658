"""Atomic files and folders: complete or missing, even if the process or the machine dies."""

import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial-"  # prefix of files and folders that are being written
ABANDONED_S = 3600.0  # without a change, after which a partial file is not being written any more


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
        try:
            partial.rename(path)
        except OSError:
            if not path.exists():
                raise
        _sync(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def clear_partial(folder: Path, name: str = "*", abandoned_only: bool = False) -> None:
    """Remove the partial files and folders in `folder` that killed processes left, of one `name` or of all.

    Another process may remove them at the same time. If another one may be writing them, use `abandoned_only`.
    """
    for path in folder.glob(f"{PARTIAL}{name}-*"):
        if abandoned_only and not is_abandoned(path):
            continue
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def is_abandoned(partial: Path) -> bool:
    """Return whether a partial file, or a partial folder with all its files, has not changed for an hour."""
    try:
        newest_s = max(path.stat().st_mtime for path in (partial, *partial.rglob("*")))
    except FileNotFoundError:  # its process has removed or renamed a file
        return False
    return newest_s < time.time() - ABANDONED_S


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
