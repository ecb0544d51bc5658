"""Raw datasets as their readers return them, and the writer of the prepared arrays."""

from collections import Counter
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model

# uint8 [n, C, S, S], and the labels of these images, int64 [n].
LabeledImages: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class RawDataset:
    """A dataset at its source: known facts, and its images in batches that are read lazily."""

    source: str  # path or URL
    total: int  # expected number of images, for the progress bar
    batches: Generator[LabeledImages, None, None]
    class_names: list[str] | None = None
    official_total: int | None = None  # number of images in the complete official dataset
    damaged: dict[str, str] = field(default_factory=dict)  # file → reason; filled while batches are read
    remarks: Counter[str] = field(default_factory=Counter)  # on images that are used; filled likewise


# Opens a raw dataset; the folder is for downloads.
Reader: TypeAlias = Callable[[Data, Model, Path], RawDataset]


def source_path(data: Data) -> Path:
    """Return the absolute path of `data.source`, which may not exist: a prepared dataset does not need it."""
    return Path(data.source or "").expanduser().resolve()


def existing_source(data: Data) -> Path:
    """Return the absolute path of `data.source`. Raises UserError if it does not exist."""
    source = source_path(data)
    if not source.exists():
        raise UserError(f"data.source={data.source} does not exist; give the path of an existing file or folder")
    return source


class ImageWriter:
    """Writer that appends batches to images.npy and labels.npy, so that the dataset need not fit in memory.

    The header of images.npy is rewritten at the end, when the number of images is known: NumPy pads it for this.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]):
        self.folder, self.shape = folder, shape
        self.labels: list[np.ndarray] = []
        self._file = open(folder / "images.npy", "wb")  # noqa: SIM115  closed by __exit__
        self._write_header()

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def __len__(self) -> int:
        return sum(map(len, self.labels))

    def add(self, images: np.ndarray, labels: np.ndarray) -> None:
        if images.dtype != np.uint8 or images.shape != (len(labels), *self.shape):
            raise ValueError(f"{images.dtype} images of shape {images.shape} for {len(labels)} labels")
        self._file.write(np.ascontiguousarray(images).data)
        self.labels.append(labels.astype(np.int64))

    def finish(self) -> None:
        header_size = self._write_header()
        size = header_size + len(self) * int(np.prod(self.shape))
        if (self.folder / "images.npy").stat().st_size != size:
            raise RuntimeError(f"images.npy does not have {size} bytes")
        np.save(self.folder / "labels.npy", np.concatenate(self.labels))

    def _write_header(self) -> int:
        """Write NumPy's header for all images so far; return its size in bytes."""
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(self), *self.shape)}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        return self._file.tell()
