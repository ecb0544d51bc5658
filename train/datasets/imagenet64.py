"""ImageNet downsampled to 64×64 (Chrabaszcz et al. 2017), in both formats it is distributed in: npz and pickle.

Ten files train_data_batch_1 … 10, each with `data` uint8 [n, 12288] (red, green and blue planes), `labels` 1 … 1000.
"""

import re
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from configs.errors import UserError, first_line
from configs.schema import Data, Model
from train.datasets.array_pickle import ForbiddenGlobal, load_arrays
from train.datasets.images import LabeledImages, RawDataset, existing_source
from train.datasets.sources import file_names, file_size, open_file

SHAPE = (3, 64, 64)
PIXELS = 3 * 64 * 64
CLASSES = 1000
FILE_NUMBERS = range(1, 11)
OFFICIAL_TOTAL = 1_281_167
ROWS_PER_READ = 4096
DOWNLOAD_PAGE = 'image-net.org (log in, "Download", "Downsampled ImageNet", 64x64 train, both parts)'


class BatchFile(NamedTuple):
    """One of the ten files, in a folder or a zip."""

    container: Path
    name: str

    def __str__(self) -> str:
        return f"{self.container}/{self.name}"


def read(data: Data, model: Model, downloads: Path) -> RawDataset:
    """Read the training images [3, 64, 64] in the order of the files, with labels from 0.

    Raises UserError if a file is missing or damaged.
    """
    if data.source is None:
        raise UserError(
            f"imagenet64 cannot be downloaded without a login; download it from {DOWNLOAD_PAGE} "
            "into one folder, and give that folder as data.source="
        )
    source = existing_source(data)
    return RawDataset(str(source), OFFICIAL_TOTAL, _batches(_batch_files(source)), official_total=OFFICIAL_TOTAL)


def _batch_files(source: Path) -> list[BatchFile]:
    """Find all ten files at any depth below `source`, also in zips; npz is preferred to pickle, which needs memory."""
    by_number: dict[int, BatchFile] = {}
    for file in _all_files(source):
        match = re.fullmatch(r"(?:.*/)?train_data_batch_(\d+)(\.npz)?", file.name)
        if match and (match[2] or int(match[1]) not in by_number):
            by_number[int(match[1])] = file
    missing = ", ".join(f"train_data_batch_{number}" for number in FILE_NUMBERS if number not in by_number)
    if missing:
        raise UserError(
            f"data.source={source} does not contain {missing}; download all parts from {DOWNLOAD_PAGE} into one folder"
        )
    return [by_number[number] for number in FILE_NUMBERS]


def _all_files(source: Path) -> Iterator[BatchFile]:
    for name in file_names(source):
        yield BatchFile(source, name)
        if source.is_dir() and name.lower().endswith(".zip"):
            yield from (BatchFile(source / name, member) for member in file_names(source / name))


def _batches(files: list[BatchFile]) -> Generator[LabeledImages, None, None]:
    for file in files:
        try:
            with open_file(file.container, file.name) as opened:
                yield from (_read_npz if file.name.endswith(".npz") else _read_pickle)(opened, file)
        except ForbiddenGlobal as error:
            raise UserError(
                f"{file} was rejected because it would call {error}, which no array needs; "
                f"download it from {DOWNLOAD_PAGE}"
            ) from None
        except (OSError, UserError):
            raise
        except Exception as error:  # the readers of zip, NumPy and pickle raise arbitrary exceptions for damaged files
            reason = first_line(error)
            raise UserError(f"{file} is damaged ({reason}); download it again from {DOWNLOAD_PAGE}") from None


def _read_npz(opened: IO[bytes], file: BatchFile) -> Iterator[LabeledImages]:
    with zipfile.ZipFile(opened) as archive:
        with archive.open("labels.npy") as member:
            labels = _labels_from_zero(_read_labels(member))
        with archive.open("data.npy") as member:
            yield from _read_rows(member, labels, file)


def _read_labels(opened: IO[bytes]) -> np.ndarray:
    shape, _, dtype = _read_header(opened)
    if len(shape) != 1 or dtype.hasobject or not 0 <= shape[0] <= OFFICIAL_TOTAL:
        raise ValueError(f"labels are {dtype} {list(shape)}")
    return np.frombuffer(opened.read(shape[0] * dtype.itemsize), dtype)


def _read_header(opened: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, column-major order and type of an array."""
    version = np.lib.format.read_magic(opened)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read_header(opened)


def _read_rows(opened: IO[bytes], labels: np.ndarray, file: BatchFile) -> Iterator[LabeledImages]:
    """Yield the images of data.npy in chunks, because the whole array has 1.6 GB."""
    shape, fortran_order, dtype = _read_header(opened)
    _check_data(shape, dtype, labels, file)
    if fortran_order:
        raise ValueError("data is stored in column-major order")
    for start in range(0, len(labels), ROWS_PER_READ):
        chunk = labels[start : start + ROWS_PER_READ]
        pixels = np.frombuffer(opened.read(len(chunk) * PIXELS), np.uint8)
        yield pixels.reshape(len(chunk), *SHAPE), chunk


def _read_pickle(opened: IO[bytes], file: BatchFile) -> Iterator[LabeledImages]:
    content: dict[str, Any] = load_arrays(opened, file_size(file.container, file.name))
    data, labels = np.asarray(content["data"]), _labels_from_zero(np.asarray(content["labels"]))
    _check_data(data.shape, data.dtype, labels, file)
    for start in range(0, len(labels), ROWS_PER_READ):
        rows = slice(start, start + ROWS_PER_READ)
        yield data[rows].reshape(-1, *SHAPE), labels[rows]


def _labels_from_zero(labels: np.ndarray) -> np.ndarray:
    """Convert a file's labels 1 … 1000 to int64 labels 0 … 999."""
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels):
        raise ValueError(f"labels are {labels.dtype} {list(labels.shape)}")
    if labels.min() < 1 or labels.max() > CLASSES:
        raise ValueError(f"labels range from {labels.min()} to {labels.max()}, not 1 to {CLASSES}")
    return labels.astype(np.int64) - 1


def _check_data(shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray, file: BatchFile) -> None:
    if len(shape) == 2 and shape[1] in (3 * 8**2, 3 * 16**2, 3 * 32**2):
        side = int((shape[1] / 3) ** 0.5)
        raise UserError(f"{file} has images of {side} pixels, not 64; download those from {DOWNLOAD_PAGE}")
    if dtype != np.uint8 or shape != (len(labels), PIXELS):
        raise ValueError(f"data is {dtype} {list(shape)} for {len(labels)} labels")
