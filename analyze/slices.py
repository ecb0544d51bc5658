"""Tensors generated in slices of the N images, by one or several processes, and joined.

generations/000000100/
  slices/samples-000000000-000000512.safetensors …
  inversions/ddim-T100/slices/latents-000000000-000000512.safetensors …

A slice is written at once, under a name that contains its images, so that processes never change each other's files.
Slices may overlap: image i is the same in all of them, up to rounding.
"""

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from configs.errors import UserError, is_unreadable
from records.atomic import clear_partial

if TYPE_CHECKING:
    from analyze.generations import Generations

FOLDER = "slices"
# Tensors with one entry per image, in the order in which they depend on each other; value: dimension of the images.
SLICED = {"samples": 0, "latents": 0, "reconstructions": 0, "trajectory": 1}


def folder(file: Path) -> Path:
    """Return the folder of the slices of the tensor in `file`."""
    return file.parent / FOLDER


def slice_file(file: Path, part: range) -> Path:
    """Return the path of a slice of the tensor in `file`."""
    return folder(file) / f"{file.stem}-{part.start:09d}-{part.stop:09d}{file.suffix}"


def stored(generations: "Generations", name: str) -> dict[range, Path]:
    """Return the intact files of a tensor by their images: the whole tensor and slices."""
    return {part: file for part, file in files(generations, name).items() if _contains(file, name, part)}


def files(generations: "Generations", name: str) -> dict[range, Path]:
    """Return the files of a tensor by their images, without opening them."""
    whole = generations.whole
    file = whole.file(name)
    found = {whole.images_of(name): file} if file.exists() else {}
    for path in sorted(folder(file).glob(f"{file.stem}-*{file.suffix}")):
        if match := re.fullmatch(rf"{re.escape(file.stem)}-(\d{{9}})-(\d{{9}})", path.stem):
            found[range(int(match[1]), int(match[2]))] = path
    return found


def missing(generations: "Generations", name: str, part: range, checked: bool = True) -> list[range]:
    """Return the images of `part` that neither the whole tensor nor a slice contains, as ascending ranges.

    It is `checked` whether files can be read.
    """
    found = stored(generations, name) if checked else files(generations, name)
    return gaps(found, intersection(part, generations.whole.images_of(name)))


def gaps(covered: Iterable[range], part: range) -> list[range]:
    """Return the ranges of `part` that no covered range contains, ascending."""
    position, found = part.start, []
    for each in sorted(covered, key=lambda each: each.start):
        if gap := range(position, min(each.start, part.stop)):
            found.append(gap)
        position = max(position, each.stop)
    return [*found, *filter(None, [range(position, part.stop)])]


def union(ranges: Iterable[range]) -> list[range]:
    """Return ascending ranges without common elements that contain the elements of all ranges."""
    merged: list[range] = []
    for each in sorted(ranges, key=lambda each: each.start):
        if merged and each.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, each.stop))
        else:
            merged.append(each)
    return merged


def intersection(first: range, second: range) -> range:
    return range(max(first.start, second.start), min(first.stop, second.stop))


def pieces(ranges: Iterable[range], size: int) -> Iterator[range]:
    """Yield ranges of at most `size` images."""
    for each in ranges:
        for start in range(each.start, each.stop, size):
            yield range(start, min(start + size, each.stop))


def fill(generations: "Generations", name: str, part: range, size: int) -> None:
    """Generate the missing images of `part`, in slices of at most `size` images."""
    for piece in pieces(missing(generations, name, part), size):
        generations.slice(piece)[name]


def join(generations: "Generations", name: str) -> Tensor:
    """Return a whole tensor from its slices, after generating the missing images."""
    everything = generations.images_of(name)
    fill(generations, name, everything, len(everything))
    return read(generations, name, everything)


def read(generations: "Generations", name: str, part: range) -> Tensor:
    """Return the images of `part` of a tensor, all of which are stored. Raises UserError if slices do not fit."""
    tensors, position, dimension = [], part.start, SLICED[name]
    for each, file in sorted(stored(generations, name).items(), key=lambda item: item[0].start):
        if each.start <= position < min(each.stop, part.stop):
            inside = slice(position - each.start, min(each.stop, part.stop) - each.start)
            with safe_open(file, "pt") as tensors_of_file:
                tensors.append(tensors_of_file.get_slice(name)[(*[slice(None)] * dimension, inside)])
            position = each.start + inside.stop
    assert position == part.stop, f"images {position} to {part.stop} of {name} are not stored"
    if len({(tensor.dtype, *tensor.movedim(dimension, 0).shape[1:]) for tensor in tensors}) > 1:
        raise UserError(f"{folder(generations.whole.file(name))}: slices of {name} differ in shape; remove this folder")
    return torch.cat(tensors, dimension)


def delete(generations: "Generations", name: str) -> None:
    """Delete the slices of a tensor; the whole tensor is kept."""
    slices = folder(generations.whole.file(name))
    for path in slices.glob(f"{name}-*"):
        path.unlink(missing_ok=True)
    clear_partial(slices, name)
    with contextlib.suppress(OSError):  # other tensors have slices
        slices.rmdir()


def require_readable(file: Path) -> None:
    """Raise UserError if the disk or a permission prevents reading a file: it may be intact and must not be replaced.

    safetensors reports such a file as missing.
    """
    try:
        with open(file, "rb"):
            pass
    except OSError as error:
        if is_unreadable(error):
            remedy = "make it readable, then rerun the same command"
            raise UserError(f"{file} cannot be read ({error.strerror}); {remedy}") from error


def _contains(file: Path, name: str, part: range) -> bool:
    """Return whether a file can be read and contains these images of a tensor."""
    try:
        with safe_open(file, "pt") as tensors:
            tensor = tensors.get_slice(name)
            return tensor.get_dtype() == "F32" and tensor.get_shape()[SLICED[name]] == len(part)
    except (OSError, SafetensorError, LookupError):
        return False
