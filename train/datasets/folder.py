"""Any folder of images, or a zip archive of one: each image is resized and cropped to a square."""

from collections import Counter
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from configs.errors import UserError
from configs.schema import Data, Model
from train.datasets.images import LabeledImages, RawDataset, existing_source
from train.datasets.processes import parallel_map
from train.datasets.resize import ReadImages, read_images
from train.datasets.sources import file_names

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"}
FILES_PER_TASK = 64
MAX_NAMED = 5  # damaged images named in an error message


def read(data: Data, model: Model, downloads: Path) -> RawDataset:
    """Read all images at any depth, [C, S, S] by `resize.resize_and_crop`, sorted by their relative paths."""
    if data.source is None:
        raise UserError("data.name=folder needs data.source=, the folder (or zip) that contains the images")
    source = existing_source(data)
    names = [name for name in file_names(source) if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not names:
        raise UserError(f"data.source={source} contains no images ({', '.join(sorted(SUFFIXES))}); give another folder")
    labels, class_names = labels_of(names)
    read_some = partial(read_images, source, side=model.image_size, channels=model.in_channels)
    damaged: dict[str, str] = {}
    remarks = Counter[str]()
    batches = _batches(read_some, names, labels, data, damaged, remarks)
    return RawDataset(str(source), len(names), batches, class_names, damaged=damaged, remarks=remarks)


def labels_of(names: list[str]) -> tuple[np.ndarray, list[str] | None]:
    """Return the label of each image, int64 [n], and the sorted class names, or None if images have no class.

    As in improved-diffusion, the class is the part of the file name before the first underscore, if all images are in
    the same folder and all names have an underscore. Otherwise it is the name of the image's folder, or the folder's
    path if all folders have the same name.
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
    label = {name: index for index, name in enumerate(class_names)}
    return np.array([label[name] for name in classes], np.int64), class_names


def _batches(
    read_some: Callable[[list[str]], ReadImages],
    names: list[str],
    labels: np.ndarray,
    data: Data,
    damaged: dict[str, str],
    remarks: Counter[str],
) -> Generator[LabeledImages, None, None]:
    """Yield images with their labels, and add to `damaged`, an error at the end unless skipped, and to `remarks`."""
    starts = range(0, len(names), FILES_PER_TASK)
    results = parallel_map(read_some, [names[start : start + FILES_PER_TASK] for start in starts], data.workers)
    try:
        for start, (images, task_damaged, task_remarks) in zip(starts, results, strict=True):
            damaged |= task_damaged
            remarks.update(task_remarks)
            stop = start + len(images) + len(task_damaged)
            intact = [index for index in range(start, stop) if names[index] not in task_damaged]
            yield images, labels[intact]
    finally:
        results.close()
    if damaged and not data.skip_damaged:
        raise UserError(
            f"{_count_damaged(damaged, names)} in data.source={data.source}; "
            "fix or remove the files, or skip them with data.skip_damaged=true"
        )


def _count_damaged(damaged: dict[str, str], names: list[str]) -> str:
    """Return "3 of 300 images are damaged: a.png (not an image), …"."""
    named = [f"{name} ({reason})" for name, reason in damaged.items()][:MAX_NAMED]
    more = ", …" if len(damaged) > MAX_NAMED else ""
    verb = "is" if len(damaged) == 1 else "are"
    return f"{len(damaged)} of {len(names)} images {verb} damaged: {', '.join(named)}{more}"
