"""CIFAR-10 in its official binary version: records of a label byte and 3 × 32 × 32 pixel bytes, plane by plane."""

import re
import tarfile
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from records.atomic import file_digest
from records.download import download
from train.datasets.images import Batch, Images, existing_source

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
DIGEST = "md5:c32a1d4ab5d03f1284b67883e8d87530"
UNPACKED = "cifar-10-batches-bin"  # the folder in the archive
ARCHIVED = [f"{UNPACKED}/data_batch_{number}.bin" for number in range(1, 6)]
CLASSES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32
RECORDS_AT_ONCE = 5000
OFFICIAL = 50_000


class BatchFile(NamedTuple):
    name: str
    size: int
    open: Callable[[], AbstractContextManager[IO[bytes]]]


def read(data: Data, model: Model, downloads: Path) -> Images:
    """The training images, [3, 32, 32] in the official order, from `data.source` or the network."""
    path = download(URL, DIGEST, downloads, "data.source") if data.source is None else existing_source(data)
    with ExitStack() as stack:
        files = _in_folder(path) if path.is_dir() else _in_archive(path, stack)
        for file in files:
            if file.size == 0 or file.size % RECORD:
                raise UserError(f"{file.name} has {file.size} bytes, not a multiple of {RECORD}; get it again")
        total = sum(file.size for file in files) // RECORD
        batches = _batches(files, stack.pop_all())
    return Images(URL if data.source is None else str(path), total, batches, CLASSES, OFFICIAL)


def _in_folder(folder: Path) -> list[BatchFile]:
    """The data_batch files of a folder, or of its child that the archive unpacks to, by number."""
    paths = {
        int(match[1]): path
        for path in [*folder.glob(f"{UNPACKED}/*"), *folder.glob("*")]
        if (match := re.fullmatch(r"data_batch_(\d+)\.bin", path.name))
    }
    if not paths:
        raise UserError(f"data.source={folder} holds no data_batch_1.bin; give the unpacked folder of {URL}")
    return [BatchFile(str(path), path.stat().st_size, _file_opener(path)) for _, path in sorted(paths.items())]


def _in_archive(path: Path, stack: ExitStack) -> list[BatchFile]:
    """The five data_batch files of the archive, read where they are: nothing is unpacked."""
    if f"md5:{file_digest(path, 'md5')}" != DIGEST:
        raise UserError(
            f"data.source={path} is not the official archive (its digest is not {DIGEST}); give {URL} as it is, "
            "or the folder that it unpacks to"
        )
    archive = stack.enter_context(tarfile.open(path, "r:gz"))  # noqa: SIM115
    members = {member.name: member for member in archive if member.isreg() and member.name in ARCHIVED}
    if len(members) < len(ARCHIVED):
        raise UserError(f"{path} lacks {', '.join(name for name in ARCHIVED if name not in members)}; get it again")
    return [
        BatchFile(f"{path}: {name}", members[name].size, _member_opener(archive, members[name])) for name in ARCHIVED
    ]


def _file_opener(path: Path) -> Callable[[], IO[bytes]]:
    return lambda: open(path, "rb")


def _member_opener(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
    def opened() -> IO[bytes]:
        file = archive.extractfile(member)
        assert file is not None, "a regular file"
        return file

    return opened


def _batches(files: list[BatchFile], resources: ExitStack) -> Generator[Batch, None, None]:
    with resources:
        for batch_file in files:
            with batch_file.open() as file:
                while read := file.read(RECORD * RECORDS_AT_ONCE):
                    yield _images(read, batch_file.name)


def _images(records: bytes, name: str) -> Batch:
    if len(records) % RECORD:
        raise UserError(f"{name} ends within an image; get it again")
    values = np.frombuffer(records, np.uint8).reshape(-1, RECORD)
    labels = values[:, 0].astype(np.int64)
    if labels.max() >= len(CLASSES):
        raise UserError(f"{name} has the label {labels.max()}, CIFAR-10 only 0 to 9; is it CIFAR-10's binary version?")
    return values[:, 1:].reshape(-1, *SHAPE), labels
