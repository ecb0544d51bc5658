"""Folders and zip archives behind one interface: files by name, read without unpacking."""

import os
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from configs.errors import UserError

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2)  # LZMA reserves any memory that a file states


def file_names(source: Path) -> list[str]:
    """List the files in a folder or zip at any depth as relative names with "/", in the same order on every machine.

    Names are sorted by their path components. Hidden files and those added by macOS (.DS_Store, ._name, __MACOSX) are
    skipped. Raises UserError if `source` is neither a folder nor a zip archive.
    """
    if source.is_dir():
        names = set(_names_in_folder(source))
    else:
        names = {name for name in open_zip(source).namelist() if not name.endswith("/")}
    return sorted((name for name in names if name and not _is_hidden(name)), key=lambda name: PurePosixPath(name).parts)


def open_file(source: Path, name: str) -> IO[bytes]:
    """Open a file listed by `file_names`. Raises BadZipFile for an archive with an unusual compression."""
    if source.is_dir():
        return open(source / name, "rb")
    if open_zip(source).getinfo(name).compress_type not in METHODS:
        raise zipfile.BadZipFile(f"{name} is compressed by another method than deflate or bzip2")
    return open_zip(source).open(name)


def file_size(source: Path, name: str) -> int:
    """Return the size in bytes of a file listed by `file_names`; no more bytes can be read from it."""
    return (source / name).stat().st_size if source.is_dir() else open_zip(source).getinfo(name).file_size


def open_zip(path: Path) -> zipfile.ZipFile:
    """Open a zip archive, reading its directory once per process. Raises UserError if it is damaged or not a zip."""
    stat = path.stat()
    return _open_zip(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _open_zip(path: Path, mtime_ns: int, size: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path} is neither a folder nor an intact zip archive ({error}); check the path or copy it again"
        ) from None


def _names_in_folder(folder: Path) -> Iterator[str]:
    visited = set()  # a symbolic link to a parent folder would be followed forever
    for path, subfolders, files in os.walk(folder, onerror=_raise_unreadable, followlinks=True):
        stat = os.stat(path)
        if (stat.st_dev, stat.st_ino) in visited:
            subfolders.clear()
            continue
        visited.add((stat.st_dev, stat.st_ino))
        subfolders.sort()
        for file in files:
            yield (Path(path) / file).relative_to(folder).as_posix()


def _raise_unreadable(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be read ({error.strerror})")


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
