"""CIFAR-10 in its official binary version: records of a label byte and 3 × 32 × 32 pixel bytes, channel by channel."""

import re
import tarfile
from collections.abc import Callable, Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from records.atomic import file_digest
from records.download import download
from train.datasets.images import LabeledImages, RawDataset, existing_source

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
DIGEST = "md5:c32a1d4ab5d03f1284b67883e8d87530"
ARCHIVE_FOLDER = "cifar-10-batches-bin"
ARCHIVE_FILES = [f"{ARCHIVE_FOLDER}/data_batch_{number}.bin" for number in range(1, 6)]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPE = (3, 32, 32)
RECORD_BYTES = 1 + 3 * 32 * 32
RECORDS_PER_READ = 5000
OFFICIAL_TOTAL = 50_000


class RecordFile(NamedTuple):
    """A file of records, in a folder or an archive."""

    name: str
    size: int
    open: Callable[[], Any]  # → IO[bytes]


def read(data: Data, model: Model, downloads: Path) -> RawDataset:
    """Read the training images [3, 32, 32] in official order, from `data.source` or else by download.

    Raises UserError if the source is incomplete or damaged.
    """
    path = download(URL, DIGEST, downloads, "data.source") if data.source is None else existing_source(data)
    with ExitStack() as stack:
        files = _files_in_folder(path) if path.is_dir() else _files_in_archive(path, stack)
        for file in files:
            if file.size == 0 or file.size % RECORD_BYTES:
                problem = f"{file.size} bytes, not a multiple of {RECORD_BYTES}"
                raise UserError(f"{file.name} has {problem}; download it again")
        total = sum(file.size for file in files) // RECORD_BYTES
        batches = _batches(files, stack.pop_all())
    return RawDataset(URL if data.source is None else str(path), total, batches, CLASSES, OFFICIAL_TOTAL)


def _files_in_folder(folder: Path) -> list[RecordFile]:
    """Return the data_batch files of a folder, or of its subfolder cifar-10-batches-bin, by number."""
    paths = {
        int(match[1]): path
        for path in [*folder.glob(f"{ARCHIVE_FOLDER}/*"), *folder.glob("*")]
        if (match := re.fullmatch(r"data_batch_(\d+)\.bin", path.name))
    }
    if not paths:
        raise UserError(f"data.source={folder} contains no data_batch_1.bin; give the unpacked folder of {URL}")
    return [RecordFile(str(path), path.stat().st_size, partial(path.open, "rb")) for _, path in sorted(paths.items())]


def _files_in_archive(path: Path, stack: ExitStack) -> list[RecordFile]:
    """Return the five data_batch files of the archive, which are read without unpacking it."""
    if f"md5:{file_digest(path, 'md5')}" != DIGEST:
        raise UserError(
            f"data.source={path} is not the official archive (its digest is not {DIGEST}); give {URL} unchanged, "
            "or its unpacked folder"
        )
    archive = stack.enter_context(tarfile.open(path, "r:gz"))  # noqa: SIM115
    members = {member.name: member for member in archive if member.isreg() and member.name in ARCHIVE_FILES}
    if len(members) < len(ARCHIVE_FILES):
        missing = ", ".join(name for name in ARCHIVE_FILES if name not in members)
        raise UserError(f"{path} does not contain {missing}; download it again")
    return [
        RecordFile(f"{path}: {name}", members[name].size, partial(archive.extractfile, members[name]))
        for name in ARCHIVE_FILES
    ]


def _batches(files: list[RecordFile], resources: ExitStack) -> Generator[LabeledImages, None, None]:
    with resources:
        for record_file in files:
            with record_file.open() as file:
                while records := file.read(RECORD_BYTES * RECORDS_PER_READ):
                    yield _parse(records, record_file.name)


def _parse(records: bytes, name: str) -> LabeledImages:
    if len(records) % RECORD_BYTES:
        raise UserError(f"{name} ends in the middle of an image; download it again")
    values = np.frombuffer(records, np.uint8).reshape(-1, RECORD_BYTES)
    labels = values[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise UserError(
            f"{name} has label {labels.max()}, but CIFAR-10 has labels 0 to 9 only; use CIFAR-10's binary version"
        )
    return values[:, 1:].reshape(-1, *SHAPE), labels
