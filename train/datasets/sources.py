"""A folder or a zip archive, read alike: the files in it by name, without unpacking anything."""

import os
import zipfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import IO

from configs.errors import UserError


def file_names(source: Path) -> list[str]:
    """Files in a folder or zip at any depth, relative, with "/": sorted folder by folder, the same on every machine.

    Hidden files and what macOS adds (.DS_Store, ._name, __MACOSX) are left out. Raises UserError where `source` is
    neither a folder nor a zip.
    """
    if source.is_dir():
        names = set(_names_in_folder(source))
    else:
        names = {member.filename for member in opened_zip(source).infolist() if not member.is_dir()}
    return sorted((name for name in names if not _hidden(name)), key=lambda name: PurePosixPath(name).parts)


def open_file(source: Path, name: str) -> IO[bytes]:
    """One of the files that `file_names` names."""
    return open(source / name, "rb") if source.is_dir() else opened_zip(source).open(name)


def opened_zip(path: Path) -> zipfile.ZipFile:
    """A zip archive, whose directory is read only once a process. Raises UserError where it is none."""
    about = path.stat()
    return _opened_zip(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4)
def _opened_zip(path: Path, changed_ns: int, size: int) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except zipfile.BadZipFile as error:
        raise UserError(f"{path} is neither a folder nor a whole zip archive ({error})") from None


def _names_in_folder(folder: Path) -> Iterator[str]:
    seen = set()  # a link to a folder above would be followed for ever
    for place, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        about = os.stat(place)
        if (about.st_dev, about.st_ino) in seen:
            folders.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        folders.sort()
        for file in files:
            yield (Path(place) / file).relative_to(folder).as_posix()


def _refuse(error: OSError) -> None:
    raise UserError(f"the folder {error.filename} cannot be read ({error.strerror})")


def _hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
