"""Any folder of images, or a zip archive of one: every image cut to a square of the size asked for."""

from collections.abc import Generator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from train.datasets.images import Batch, Images, existing_source
from train.datasets.processes import results_in_order
from train.datasets.resize import read_images
from train.datasets.sources import file_names

KINDS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
FILES_AT_ONCE = 64
NAMED = 5  # damaged images that a message names


def read(data: Data, model: Model, downloads: Path) -> Images:
    """All images at any depth, [C, S, S] by `resize.resized`, sorted by their relative paths."""
    if data.source is None:
        raise UserError("data.name=folder needs data.source=, the folder (or zip) that the images lie in")
    source = existing_source(data)
    names = [name for name in file_names(source) if PurePosixPath(name).suffix.lower() in KINDS]
    if not names:
        raise UserError(f"data.source={source} holds no images ({', '.join(sorted(KINDS))}); give another folder")
    labels, class_names = labels_of(names)
    left_out: dict[str, str] = {}
    batches = _batches(source, names, labels, data, model, left_out)
    return Images(str(source), len(names), batches, class_names, left_out=left_out)


def labels_of(names: list[str]) -> tuple[np.ndarray, list[str] | None]:
    """Each image's class, int64 [n], and the classes' names, sorted; None where there is nothing to tell them by.

    As in improved-diffusion, a name begins with its class and an underscore, where all lie in one folder and have
    one; else the class is the folder that an image lies in, by its path where all folders have one name.
    """
    paths = [PurePosixPath(name) for name in names]
    folders = {path.parent for path in paths}
    if len(folders) == 1 and all("_" in path.name for path in paths):
        classes = [path.name.partition("_")[0] for path in paths]
    elif len({folder.name for folder in folders}) > 1:
        classes = [path.parent.name or "." for path in paths]
    elif len(folders) > 1:
        classes = [str(path.parent) for path in paths]
    else:
        return np.zeros(len(names), np.int64), None
    class_names = sorted(set(classes))
    number = {name: place for place, name in enumerate(class_names)}
    return np.array([number[name] for name in classes], np.int64), class_names


def _batches(
    source: Path, names: list[str], labels: np.ndarray, data: Data, model: Model, left_out: dict[str, str]
) -> Generator[Batch, None, None]:
    """Images with their labels; damaged ones go to `left_out`, and all of them into one error unless skipped."""
    work = partial(_read_some, source, model.image_size, model.in_channels)
    tasks = [names[start : start + FILES_AT_ONCE] for start in range(0, len(names), FILES_AT_ONCE)]
    results = results_in_order(work, tasks, data.workers)
    try:
        for start, (images, damaged) in zip(range(0, len(names), FILES_AT_ONCE), results, strict=True):
            left_out |= damaged
            whole = [place for place in range(start, start + len(images) + len(damaged)) if names[place] not in damaged]
            yield images, labels[whole]
    finally:
        results.close()
    if left_out and not data.skip_damaged:
        raise UserError(
            f"{_damaged(left_out, names)} in data.source={source}; "
            "mend or remove them, or leave them out with data.skip_damaged=true"
        )


def _read_some(source: Path, side: int, channels: int, names: list[str]) -> tuple[np.ndarray, dict[str, str]]:
    return read_images(source, names, side, channels)


def _damaged(left_out: dict[str, str], names: list[str]) -> str:
    """ "3 of 300 images are damaged: a.png (not an image), …"."""
    named = [f"{name} ({reason})" for name, reason in left_out.items()][:NAMED]
    more = ", …" if len(left_out) > NAMED else ""
    are = "image is" if len(left_out) == 1 else "images are"
    return f"{len(left_out)} of {len(names)} {are} damaged: {', '.join(named)}{more}"
