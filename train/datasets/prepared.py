"""Prepared datasets in `<data.root>/<data.name>_<model.image_size>`: written once, checked on every use.

Each contains images.npy (uint8 [N, C, S, S]), labels.npy (int64 [N]), about.json (source, digests, class names and
damaged images that were left out) and preview.png, some of the images.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from configs.errors import UserError, first_line, is_unreadable
from configs.schema import Data, Model
from records.atomic import atomic_folder, clear_partial, file_digest, read_json, write_json
from records.layout import data_folder
from records.lock import Busy, describe_process, hold
from records.pictures import grid
from records.progress import progress
from train.datasets import cifar10, digits, folder, imagenet64
from train.datasets.images import ImageWriter, RawDataset, Reader, source_path

READERS: dict[str, Reader] = {
    "digits": digits.read,
    "cifar10": cifar10.read,
    "imagenet64": imagenet64.read,
    "folder": folder.read,
}
ARRAYS = ("images.npy", "labels.npy")
PREVIEW_IMAGES, PREVIEW_COLUMNS = 64, 16
LOCK_TIMEOUT_S = 12 * 3600.0  # another process may be preparing all of ImageNet from JPEG files


def prepared_folder(data: Data, model: Model) -> Path:
    """Return the folder of an experiment's dataset; prepare it first if it does not exist, one process at a time.

    Raises UserError if options are inconsistent, the source cannot be read, or the prepared dataset is damaged or
    was prepared with different options.
    """
    path = data_folder(data, model)
    try:
        if not path.exists():
            with _exclusive(path):
                if not path.exists():
                    clear_partial(path.parent, path.name, abandoned_only=True)  # the file system may have no locks
                    _prepare(path, data, model)
    except OSError as error:
        raise UserError(f"{path} cannot be prepared ({error}); choose another folder with data.root=") from None
    _check_prepared(path, data, model)
    return path


def check_digests(path: Path) -> None:
    """Read a prepared dataset completely. Raises UserError if it has changed since it was written."""
    about = read_about(path)
    for name in ARRAYS:
        if about.get("sha256", {}).get(name) != file_digest(path / name, "sha256"):
            raise _damaged(path, f"the digest of {name} does not match about.json")


def read_about(path: Path) -> dict[str, Any]:
    """Read about.json of a prepared dataset.

    Raises UserError if it is missing or damaged, and OSError if the disk or a permission prevents reading it.
    """
    try:
        about = read_json(path / "about.json")
        sections = [about.get(key, {}) for key in ("sha256", "left_out")]
        if len(about["images"]) == 4 and all(isinstance(section, dict) for section in sections):
            return about
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if is_unreadable(error):
            raise
    raise _damaged(path, "about.json is missing or incomplete")


def can_prepare_again(path: Path, data: Data) -> bool:
    """Return whether the source of a damaged dataset exists and is the configured one, if about.json can be read."""
    if data.name == "digits":
        return True
    recorded = None
    with suppress(UserError):
        recorded = read_about(path).get("source")
    if data.source is None:
        return data.name == "cifar10" and recorded in (None, cifar10.URL)  # which is downloaded
    return source_path(data).exists() and recorded in (None, _printable(str(source_path(data))))


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a dataset, waiting for another process that is preparing it."""
    lock, holder = path.parent / f".{path.name}.lock", describe_process(f"preparing {path}")
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(lock, holder, 0))
        except Busy as other:
            print(f"waiting for another process ({other})", file=sys.stderr)
            try:
                stack.enter_context(hold(lock, holder, LOCK_TIMEOUT_S))
            except Busy:
                raise UserError(f"{path} is still being prepared ({other}); stop that process or retry later") from None
        yield


def _prepare(path: Path, data: Data, model: Model) -> None:
    """Write a dataset from its source to `path`, atomically."""
    raw = READERS[data.name](data, model, path.parent / "downloads")
    with atomic_folder(path) as partial:
        count = _write_arrays(raw, partial, (model.in_channels, model.image_size, model.image_size), path)
        _write_preview(partial)
        write_json(partial / "about.json", {"name": data.name, **_about(raw, partial)})
    _report(raw, count, path)


def _write_arrays(raw: RawDataset, partial: Path, shape: tuple[int, int, int], path: Path) -> int:
    """Write images.npy and labels.npy; return the number of images."""
    bar = progress(f"preparing {path}", raw.total, "image")
    with bar, closing(raw.batches), ImageWriter(partial, shape) as writer:
        for images, labels in raw.batches:
            writer.add(images, labels)
            bar.update(len(images))
        if not len(writer):
            raise UserError(f"none of the images of {raw.source} can be read; give another data.source=")
        writer.finish()
        return len(writer)


def _write_preview(partial: Path) -> None:
    images = np.load(partial / "images.npy", mmap_mode="r")
    chosen = np.linspace(0, len(images) - 1, min(PREVIEW_IMAGES, len(images))).round().astype(int)
    grid(torch.from_numpy(images[chosen]) / 127.5 - 1, PREVIEW_COLUMNS).save(partial / "preview.png")


def _about(raw: RawDataset, partial: Path) -> dict[str, Any]:
    names = raw.class_names
    return {
        "source": _printable(raw.source),
        "images": list(np.load(partial / "images.npy", mmap_mode="r").shape),
        "classes": len(names) if names else int(np.load(partial / "labels.npy").max()) + 1,
        "class_names": names and [_printable(name) for name in names],
        "sha256": {name: file_digest(partial / name, "sha256") for name in ARRAYS},
        "left_out": {_printable(name): reason for name, reason in raw.damaged.items()},
    }


def _printable(name: str) -> str:
    """Replace the bytes of a file name that are not valid UTF-8."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _report(raw: RawDataset, count: int, path: Path) -> None:
    if raw.damaged:
        print(
            f"warning: skipped {len(raw.damaged)} damaged images of {len(raw.damaged) + count}; "
            f"their names are in {path / 'about.json'}",
            file=sys.stderr,
        )
    for remark, images in raw.remarks.items():
        print(f"note: {images:,} of {count:,} images {remark}", file=sys.stderr)
    if raw.official_total not in (None, count):
        print(f"note: {raw.source} has {count:,} of the official {raw.official_total:,} images", file=sys.stderr)


def _check_prepared(path: Path, data: Data, model: Model) -> None:
    about = read_about(path)
    _check_arrays(path, about["images"])
    difference = _difference(about, data, model)
    if difference:
        raise UserError(f"{path} {difference}; remove that folder or choose another data.root=")
    labels = np.load(path / "labels.npy")
    if model.num_classes is not None and labels.max() >= model.num_classes:
        raise UserError(
            f"{path} has {labels.max() + 1} classes, more than model.num_classes={model.num_classes}; "
            f"set model.num_classes={labels.max() + 1}"
        )
    if (model.num_classes or 1) > 1 and about.get("classes") == 1:
        raise UserError(
            f"{path} has a single class, but model.num_classes={model.num_classes}; name the classes in the file names "
            "or by subfolders, and remove that folder to prepare it again, or set model.num_classes=null"
        )


def _check_arrays(path: Path, shape: list[int]) -> None:
    expected = {"images.npy": (np.uint8, shape), "labels.npy": (np.int64, shape[:1])}
    for name, (dtype, expected_shape) in expected.items():
        try:
            array = np.load(path / name, mmap_mode="r")
        except Exception as error:  # NumPy's reader raises arbitrary exceptions for damaged headers
            raise _damaged(path, f"{name}: {first_line(error)}") from None
        if array.dtype != dtype or list(array.shape) != expected_shape or not array.flags.c_contiguous:
            raise _damaged(path, f"{name} is {array.dtype} {list(array.shape)}, but about.json has {expected_shape}")
        if (path / name).stat().st_size != array.offset + array.nbytes:
            raise _damaged(path, f"{name} is longer than its shape {expected_shape}")


def _difference(about: dict[str, Any], data: Data, model: Model) -> str | None:
    """Describe how a prepared dataset differs from the options, or return None."""
    if about["images"][1] != model.in_channels:
        return f"has images with {about['images'][1]} color channels, not model.in_channels={model.in_channels}"
    if data.source is not None and about.get("source") != _printable(str(source_path(data))):
        return f"was prepared from {about.get('source')}, not from data.source={data.source}"
    if about.get("left_out") and not data.skip_damaged:
        return f"was prepared without {len(about['left_out'])} damaged images; set data.skip_damaged=true"
    return None


def _damaged(path: Path, reason: str) -> UserError:
    return UserError(f"{path} is damaged ({reason}); remove that folder to prepare it again from its source")
