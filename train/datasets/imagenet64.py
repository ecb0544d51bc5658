"""ImageNet down-sampled to 64×64 (Chrabaszcz et al. 2017), in the two formats it is given out in: npz and pickles.

Ten files train_data_batch_1 … 10, each with `data` uint8 [n, 12288] (planes red, green, blue), `labels` 1 … 1000.
"""

import pickle
import re
import zipfile
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from train.datasets.array_pickle import RefusedGlobal, load_arrays
from train.datasets.images import Batch, Images, existing_source
from train.datasets.sources import file_names, open_file

SHAPE = (3, 64, 64)
PIXELS = 3 * 64 * 64
CLASSES = 1000
FILES = range(1, 11)
OFFICIAL = 1_281_167
ROWS_AT_ONCE = 4096
DAMAGED = (  # what reading a broken zip, npz or pickle ends with
    *(zipfile.BadZipFile, zlib.error, pickle.UnpicklingError, RuntimeError),
    *(ValueError, EOFError, KeyError, TypeError, IndexError, AttributeError),
)
WHERE = 'image-net.org (log in, "Download", "Downsampled ImageNet", 64x64 train, both parts)'


class BatchFile(NamedTuple):
    container: Path  # folder or zip
    name: str

    def __str__(self) -> str:
        return f"{self.container}/{self.name}"


def read(data: Data, model: Model, downloads: Path) -> Images:
    """The training images, [3, 64, 64] in the order of the files; labels from 0."""
    if data.source is None:
        raise UserError(
            f"imagenet64 cannot be downloaded without a login; get it from {WHERE}, "
            "put it into one folder, and give that as data.source="
        )
    source = existing_source(data)
    return Images(str(source), OFFICIAL, _batches(_batch_files(source)), official=OFFICIAL)


def _batch_files(source: Path) -> list[BatchFile]:
    """All ten files, wherever below `source` they lie, also within zips; npz rather than pickles, which fill memory."""
    found: dict[int, BatchFile] = {}
    for file in _all_files(source):
        match = re.fullmatch(r"(?:.*/)?train_data_batch_(\d+)(\.npz)?", file.name)
        if match and (match[2] or int(match[1]) not in found):
            found[int(match[1])] = file
    missing = [f"train_data_batch_{number}" for number in FILES if number not in found]
    if missing:
        raise UserError(
            f"data.source={source} lacks {', '.join(missing)}; get all parts from {WHERE} and put them into one folder"
        )
    return [found[number] for number in FILES]


def _all_files(source: Path) -> Iterator[BatchFile]:
    for name in file_names(source):
        yield BatchFile(source, name)
        if source.is_dir() and name.lower().endswith(".zip"):
            yield from (BatchFile(source / name, inner) for inner in file_names(source / name))


def _batches(files: list[BatchFile]) -> Generator[Batch, None, None]:
    for file in files:
        try:
            with open_file(file.container, file.name) as opened:
                yield from (_npz if file.name.endswith(".npz") else _pickled)(opened, file)
        except RefusedGlobal as error:
            raise UserError(
                f"{file} was not opened, as it asks to call {error}, which no array needs; get it from {WHERE}"
            ) from None
        except DAMAGED as error:
            raise UserError(f"{file} is damaged ({error}); get it again from {WHERE}") from None


def _npz(opened: IO[bytes], file: BatchFile) -> Iterator[Batch]:
    with zipfile.ZipFile(opened) as archive:
        with archive.open("labels.npy") as part:
            labels = _from_zero(np.lib.format.read_array(part, allow_pickle=False), file)
        with archive.open("data.npy") as part:
            yield from _rows(part, labels, file)


def _rows(opened: IO[bytes], labels: np.ndarray, file: BatchFile) -> Iterator[Batch]:
    """The images of a data.npy, some at a time: a whole one has 1.6 GB."""
    version = np.lib.format.read_magic(opened)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = read_header(opened)
    _check(shape, dtype, labels, file)
    if by_columns:
        raise ValueError("data is stored column by column")
    for start in range(0, len(labels), ROWS_AT_ONCE):
        some = labels[start : start + ROWS_AT_ONCE]
        pixels = np.frombuffer(opened.read(len(some) * PIXELS), np.uint8)
        yield pixels.reshape(len(some), *SHAPE), some


def _pickled(opened: IO[bytes], file: BatchFile) -> Iterator[Batch]:
    content: dict[str, Any] = load_arrays(opened)
    data, labels = np.asarray(content["data"]), _from_zero(np.asarray(content["labels"]), file)
    _check(data.shape, data.dtype, labels, file)
    for start in range(0, len(labels), ROWS_AT_ONCE):
        some = slice(start, start + ROWS_AT_ONCE)
        yield data[some].reshape(-1, *SHAPE), labels[some]


def _from_zero(labels: np.ndarray, file: BatchFile) -> np.ndarray:
    """int64 labels 0 … 999 of the file's 1 … 1000."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}")
    if labels.min() < 1 or labels.max() > CLASSES:
        raise ValueError(f"labels go from {labels.min()} to {labels.max()}, not 1 to {CLASSES}")
    return labels.astype(np.int64) - 1


def _check(shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray, file: BatchFile) -> None:
    if len(shape) == 2 and shape[1] in (3 * 8**2, 3 * 16**2, 3 * 32**2):
        raise UserError(f"{file} has images of {int((shape[1] / 3) ** 0.5)} pixels, not 64; get those from {WHERE}")
    if dtype != np.uint8 or shape != (len(labels), PIXELS):
        raise ValueError(f"data is {dtype} {list(shape)}, there are {len(labels)} labels")
