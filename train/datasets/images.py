"""What every data set gives when it is read, and the files that it is written to."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model

# uint8 [n, C, S, S] and the labels of these images, int64 [n].
Batch: TypeAlias = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Images:
    """A data set while it is read from its source: known facts, and batches that are read one after the other."""

    source: str  # path or address
    total: int  # images to expect, for the progress bar
    batches: Generator[Batch, None, None]
    class_names: list[str] | None = None
    official: int | None = None  # images of the whole official set
    left_out: dict[str, str] = field(default_factory=dict)  # damaged file: what is wrong; grows while being read


# Reads a data set; the folder is where downloads are kept.
Reader: TypeAlias = Callable[[Data, Model, Path], Images]


def source_path(data: Data) -> Path:
    """`data.source` in full, whether there is anything or not: a prepared set needs it no more."""
    return Path(data.source or "").expanduser().resolve()


def existing_source(data: Data) -> Path:
    """`data.source` in full. Raises UserError where there is nothing."""
    source = source_path(data)
    if not source.exists():
        raise UserError(f"data.source={data.source} does not exist; give the path of a file or folder that does")
    return source


class ImageWriter:
    """Appends batches to images.npy and labels.npy, so that no data set need fit into memory.

    The header of images.npy is written last, when the number of images is known: numpy leaves room for it.
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
        data_begins = self._write_header()
        size = data_begins + len(self) * int(np.prod(self.shape))
        if (self.folder / "images.npy").stat().st_size != size:
            raise RuntimeError(f"images.npy is not of {size} bytes")
        np.save(self.folder / "labels.npy", np.concatenate(self.labels))

    def _write_header(self) -> int:
        """Writes what numpy writes for all images so far; returns where the first of them begins."""
        about = {"descr": "|u1", "fortran_order": False, "shape": (len(self), *self.shape)}
        self._file.seek(0)
        np.lib.format.write_array_header_1_0(self._file, about)
        self._file.flush()
        return self._file.tell()
