"""The folder `<data.root>/<data.name>_<model.image_size>` of a prepared data set: made once, checked whenever used.

It holds images.npy (uint8 [N, C, S, S]), labels.npy (int64 [N]) and about.json: where they come from, their digests,
the names of the classes, and damaged images that were left out.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from records.atomic import atomic_folder, clear_partial, file_digest, write_json
from records.layout import data_folder
from records.lock import Busy, describe_process, hold
from records.progress import progress
from train.datasets import cifar10, digits, folder, imagenet64
from train.datasets.images import Images, ImageWriter, Reader, source_path

READERS: dict[str, Reader] = {
    "digits": digits.read,
    "cifar10": cifar10.read,
    "imagenet64": imagenet64.read,
    "folder": folder.read,
}
ARRAYS = ("images.npy", "labels.npy")
LONGEST_WAIT_S = 12 * 3600.0  # a whole ImageNet from photographs, by another process


def prepared_folder(data: Data, model: Model) -> Path:
    """The folder of an experiment's data set, which is made where there is none, by one process at a time.

    Raises UserError where options do not fit, the source cannot be read, or what is there is another set or damaged.
    """
    path = data_folder(data, model)
    try:
        if not path.exists():
            with _alone(path):
                if not path.exists():
                    clear_partial(path.parent, path.name)
                    _make(path, data, model)
    except OSError as error:
        raise UserError(f"{path} could not be prepared ({error}); data.root= chooses where it is kept") from None
    _check_prepared(path, data, model)
    return path


def check_digests(path: Path) -> None:
    """Reads a prepared set through. Raises UserError where it is not what was written once."""
    about = read_about(path)
    for name in ARRAYS:
        if about.get("sha256", {}).get(name) != file_digest(path / name, "sha256"):
            raise _damaged(path, f"the digest of {name} is not that in about.json")


def read_about(path: Path) -> dict[str, Any]:
    """about.json of a prepared set. Raises UserError where it is not readable."""
    try:
        about = json.loads((path / "about.json").read_text(encoding="utf-8"))
        if isinstance(about, dict) and len(about["images"]) == 4:
            return about
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise _damaged(path, "there is no whole about.json in it")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Only one process at a time makes a set; others wait for it."""
    lock, holder = path.parent / f".{path.name}.lock", describe_process(f"preparing {path}")
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(lock, holder, 0))
        except Busy as other:
            print(f"waiting for another process ({other})", file=sys.stderr)
            try:
                stack.enter_context(hold(lock, holder, LONGEST_WAIT_S))
            except Busy:
                raise UserError(f"{path} is still not there ({other}); end that one, or try later") from None
        yield


def _make(path: Path, data: Data, model: Model) -> None:
    """Reads a data set from its source into `path`, which appears when it is complete."""
    images = READERS[data.name](data, model, path.parent / "downloads")
    with atomic_folder(path) as aside:
        count = _write(images, aside, (model.in_channels, model.image_size, model.image_size), path)
        write_json(aside / "about.json", {"name": data.name, **_about(images, aside)})
    _tell(images, count, path)


def _write(images: Images, aside: Path, shape: tuple[int, int, int], path: Path) -> int:
    bar = progress(f"preparing {path}", images.total, "image")
    with bar, closing(images.batches), ImageWriter(aside, shape) as writer:
        for batch in images.batches:
            writer.add(*batch)
            bar.update(len(batch[0]))
        if not len(writer):
            raise UserError(f"none of the images of {images.source} can be read; give another data.source=")
        writer.finish()
        return len(writer)


def _about(images: Images, aside: Path) -> dict[str, Any]:
    names = images.class_names
    return {
        "source": _printable(images.source),
        "images": list(np.load(aside / "images.npy", mmap_mode="r").shape),
        "classes": len(names) if names else int(np.load(aside / "labels.npy").max()) + 1,
        "class_names": names and [_printable(name) for name in names],
        "sha256": {name: file_digest(aside / name, "sha256") for name in ARRAYS},
        "left_out": {_printable(name): reason for name, reason in images.left_out.items()},
    }


def _printable(name: str) -> str:
    """A file name without the bytes in it that are no text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _tell(images: Images, count: int, path: Path) -> None:
    if images.left_out:
        print(
            f"left out {len(images.left_out)} damaged images of {len(images.left_out) + count}; "
            f"{path / 'about.json'} names them",
            file=sys.stderr,
        )
    if images.official not in (None, count):
        print(f"note: {images.source} has {count:,} of the official {images.official:,} images", file=sys.stderr)


def _check_prepared(path: Path, data: Data, model: Model) -> None:
    about = read_about(path)
    _check_arrays(path, about["images"])
    problem = _other_set(about, data, model)
    if problem:
        raise UserError(f"{path} {problem}; remove that folder or choose another data.root=")
    labels = np.load(path / "labels.npy")
    if model.num_classes is not None and labels.max() >= model.num_classes:
        raise UserError(
            f"{path} has {labels.max() + 1} classes, more than model.num_classes={model.num_classes}; "
            f"set model.num_classes={labels.max() + 1}"
        )


def _check_arrays(path: Path, shape: list[int]) -> None:
    expected = {"images.npy": (np.uint8, shape), "labels.npy": (np.int64, shape[:1])}
    for name, (dtype, lengths) in expected.items():
        try:
            array = np.load(path / name, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise _damaged(path, f"{name}: {error}") from None
        if array.dtype != dtype or list(array.shape) != lengths or not array.flags.c_contiguous:
            raise _damaged(path, f"{name} is {array.dtype} {list(array.shape)}, about.json says {lengths}")
        if (path / name).stat().st_size != array.offset + array.nbytes:
            raise _damaged(path, f"{name} has more bytes than {lengths} need")


def _other_set(about: dict[str, Any], data: Data, model: Model) -> str | None:
    """How a prepared set differs from what is asked for."""
    if about["images"][1] != model.in_channels:
        return f"has images of {about['images'][1]} colour channels, not model.in_channels={model.in_channels}"
    if data.source is not None and about.get("source") != _printable(str(source_path(data))):
        return f"was made from {about.get('source')}, not from data.source={data.source}"
    if about.get("left_out") and not data.skip_damaged:
        return f"was made without {len(about['left_out'])} damaged images, but data.skip_damaged=false"
    return None


def _damaged(path: Path, what: str) -> UserError:
    return UserError(f"{path} is damaged ({what}); remove that folder, and it is prepared again")
