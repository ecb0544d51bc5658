"""Readers of training images: folders and archives of images, CIFAR-10, ImageNet, prepared arrays."""

import io
import json
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
from fuzz.mutations import png_chunk, write_zip
from fuzz.reader import Executed, Reader, Tree, by_name
from PIL import Image

from configs.schema import Data, Model
from train.data import load_dataset
from train.datasets.prepared import prepared_folder

SIDE = 8
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)


def prepare(folder: Path, name: str, source: Path, side: int = SIDE) -> None:
    """Prepare a dataset, and remove it so that the folder contains only the case's files."""
    try:
        prepared_folder(
            Data(name=name, root=str(folder / "root"), source=str(source), workers=1), Model(image_size=side)
        )
    finally:
        shutil.rmtree(folder / "root", ignore_errors=True)


# --- images


def images() -> dict[str, Callable[[io.BytesIO], None]]:
    """Return writers of small images of many formats by file name."""
    color, gray = Image.fromarray(PIXELS), Image.fromarray(PIXELS[..., 0])
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256)
    frames = {"save_all": True, "append_images": [color.rotate(90), color]}
    return {
        "deep.png": partial(deep.save, format="PNG"),
        "deep.tif": partial(deep.convert("I").save, format="TIFF"),
        "float.tiff": partial(gray.convert("F").save, format="TIFF"),
        "inks.jpg": partial(color.convert("CMYK").save, format="JPEG"),
        "inks.tif": partial(color.convert("CMYK").save, format="TIFF", compression="tiff_lzw"),
        "moving.gif": partial(color.save, format="GIF", **frames),
        "moving.png": partial(color.save, format="PNG", **frames),
        "moving.webp": partial(color.save, format="WEBP", **frames),
        "palette.png": partial(color.convert("P").save, format="PNG"),
        "photo.avif": partial(color.save, format="AVIF"),
        "photo.jp2": partial(color.save, format="JPEG2000"),
        "photo.jpg": partial(color.save, format="JPEG"),
        "plain.bmp": partial(color.save, format="BMP"),
        "plain.ppm": partial(color.save, format="PPM"),
        "clear.png": partial(color.convert("RGBA").save, format="PNG"),
        "small.png": partial(Image.new("1", (1, 1)).save, format="PNG"),
    }


def encoded_images() -> Tree:
    tree = {}
    for name, save in images().items():
        file = io.BytesIO()
        save(file)
        tree[name] = file.getvalue()
    return tree


def write_images(folder: Path) -> None:
    for name, data in encoded_images().items():
        (folder / name).write_bytes(data)


def png(width: int, height: int, bits: int = 8, color: int = 2, data: bytes = b"", *more: bytes) -> bytes:
    """Return a PNG file with any header."""
    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = [png_chunk(b"IHDR", header), *more, png_chunk(b"IDAT", zlib.compress(data)), png_chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def hostile_pictures() -> Tree:
    """Return decompression bombs, extreme shapes, and files of other formats with the name of an image."""
    text = png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**27)))
    return {
        "bomb.png": png(60_000, 60_000, data=bytes(1000)),
        "gray_bomb.png": png(9_000, 9_000, 16, 0, bytes(9_000 * 18_001)),
        "bit_bomb.png": png(2**31 - 1, 1, 1, 0),
        "wide.png": png(1_000_000, 1, data=bytes(3_000_001)),
        "tall.png": png(1, 1_000_000, data=bytes(4_000_000)),
        "text.png": png(4, 4, 8, 2, bytes(52), text),
        "zero.png": b"",
        "no_pixels.png": png(0, 5),
        "postscript.png": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n%%EndComments\nshowpage\n",
        "script.png": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
        "large.bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 54, 0, 54, 40, 30_000, 30_000, 1, 32, 0, 0, 0, 0, 0, 0),
        "large.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b",\0\0\0\0\xff\xff\xff\xff\0\2\0;",
        "large.ppm": b"P6 50000 50000 255\n",
        "large.webp": b"RIFF\xff\xff\xff\x7fWEBPVP8L\xff\xff\xff\x7f/\xff\xff\xff\x0f" + bytes(100),
    }


def hostile_images(tree: Tree, executed: Path) -> Iterator[Tree]:
    yield from ({name: data} for name, data in hostile_pictures().items())
    yield {}
    yield {"a.png/b/c.txt": b""}
    yield {f"{'d/' * 50}{'e' * 200}.png": tree["small.png"], "<b>\n\u202e.png": tree["small.png"]}


def read_images(folder: Path) -> None:
    prepare(folder, "folder", folder)


def read_archive(folder: Path) -> None:
    prepare(folder, "folder", folder / "images.zip")


def write_archive(folder: Path) -> None:
    (folder / "images.zip").write_bytes(write_zip([(f"a/{name}", data) for name, data in encoded_images().items()]))


def hostile_archives(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield archives whose names leave the folder, zip bombs, and compression methods that need memory."""
    small = encoded_images()["small.png"]
    traversal = ["../../escaped.png", "/escaped.png", "..\\escaped.png", "a/../../escaped.png", "C:\\escaped.png"]
    yield {"images.zip": write_zip([(name, small) for name in traversal])}
    yield from ({"images.zip": write_zip([(name, data)])} for name, data in hostile_pictures().items())
    yield {"images.zip": write_zip([(f"{i % 10}/{i}.txt", b"") for i in range(20_000)])}
    zeros = bytes(2**26)
    bomb = write_zip([("zeros.webp", b"RIFF\xff\xff\xff\x7fWEBPVP8 " + zeros)], zipfile.ZIP_DEFLATED)
    yield {"images.zip": bomb}
    yield {"images.zip": bomb.replace(struct.pack("<I", 2**26 + 16), struct.pack("<I", 2**32 - 2))}
    lzma = write_zip([("a.png", small)], zipfile.ZIP_LZMA)
    yield {"images.zip": lzma.replace(b"\x5d\0\0\x80\0", b"\x5d\xff\xff\xff\xff")}  # dictionary of 4 GiB
    yield {"images.zip": write_zip([("nested.zip", bomb), ("a.png", small)])}


# --- CIFAR-10 and ImageNet


def write_cifar10(folder: Path) -> None:
    for number in (1, 2):
        records = np.random.default_rng(number).integers(0, 10, (3, 3073), np.uint8)
        (folder / f"data_batch_{number}.bin").write_bytes(records.tobytes())


def read_cifar10(folder: Path) -> None:
    prepare(folder, "cifar10", folder, 32)


def read_imagenet(folder: Path) -> None:
    prepare(folder, "imagenet64", folder, 64)


def _batch(number: int) -> dict:
    generator = np.random.default_rng(number)
    return {"data": generator.integers(0, 256, (2, 3 * 64 * 64), np.uint8), "labels": [1, 1000]}


def write_imagenet_npz(folder: Path) -> None:
    for number in range(1, 11):
        batch = _batch(number)
        np.savez(folder / f"train_data_batch_{number}.npz", data=batch["data"], labels=np.array(batch["labels"]))


def write_imagenet_pickles(folder: Path) -> None:
    for number in range(1, 11):
        (folder / f"train_data_batch_{number}").write_bytes(pickle.dumps(_batch(number), protocol=2 + number % 4))


def hostile_npz(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield headers of absurd arrays, and arrays of objects, which are pickles."""
    name = "train_data_batch_3.npz"
    objects, labels = io.BytesIO(), io.BytesIO()
    np.save(objects, np.array([Executed(executed)], object), allow_pickle=True)
    np.save(labels, np.array([1, 1000]))
    data = np.lib.format.header_data_from_array_1_0(np.zeros((2, 3 * 64 * 64), np.uint8))
    yield tree | {name: write_zip([("labels.npy", objects.getvalue()), ("data.npy", objects.getvalue())])}
    for shape in ((10**12,), (2**62,), (-1,), ()):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {**data, "descr": "<i8", "shape": shape})
        yield tree | {name: write_zip([("labels.npy", header.getvalue()), ("data.npy", header.getvalue())])}
        yield tree | {name: write_zip([("labels.npy", labels.getvalue()), ("data.npy", header.getvalue())])}


def hostile_pickles(tree: Tree, executed: Path) -> Iterator[Tree]:
    """Yield pickles that call functions, and those that state absurd sizes."""
    content = _batch(3)
    yield tree | {"train_data_batch_3": pickle.dumps(Executed(executed))}
    yield tree | {"train_data_batch_3": pickle.dumps({**content, "labels": Executed(executed)})}
    array = b"cnumpy\nndarray\n(J%s\x85tR." % struct.pack("<i", 2**31 - 1)
    sizes = [
        b"\x8e" + struct.pack("<Q", 2**62),
        b"B" + struct.pack("<I", 2**32 - 1),
        b"\x8d" + struct.pack("<Q", 2**40),
    ]
    memo = [b"Nr" + struct.pack("<I", 2**32 - 2) + b".", b"Nr" + struct.pack("<I", 2**28) + b"."]
    integers = [b"\x8b" + struct.pack("<i", 2**31 - 1), b"\x95" + struct.pack("<Q", 2**63) + b"N."]
    nested = [
        b"(" * 10_000_000,
        b"]" * 100_000 + b"a" * 99_999 + b".",
        b"\x85" * 100_000,
        b"}N" + b"\x85" * 99_000 + b"Ns.",
    ]
    for pickled in (array, *sizes, *memo, *integers, *nested):
        yield tree | {"train_data_batch_3": b"\x80\2" + pickled}
    for shape in ((2**31 - 1, 2**31 - 1), (10**6, 10**6), (-1,), "x"):
        yield tree | {"train_data_batch_3": _call_ndarray(shape)}


def _call_ndarray(shape: object) -> bytes:
    """Return a pickle that calls numpy.ndarray(shape)."""

    class Call:
        def __reduce__(self) -> tuple:
            return np.ndarray, (shape,)

    return pickle.dumps({"data": Call(), "labels": [1, 2]})


# --- prepared arrays


def write_prepared(folder: Path) -> None:
    generator = np.random.default_rng(0)
    path = folder / f"digits_{SIDE}"
    path.mkdir()
    np.save(path / "images.npy", generator.integers(0, 256, (6, 1, SIDE, SIDE), np.uint8))
    np.save(path / "labels.npy", np.arange(6))
    about = {"name": "digits", "source": "scikit-learn", "images": [6, 1, SIDE, SIDE], "classes": 6, "left_out": {}}
    digests = {name: sha256((path / name).read_bytes()).hexdigest() for name in ("images.npy", "labels.npy")}
    (path / "about.json").write_text(json.dumps({**about, "class_names": list("012345"), "sha256": digests}))


def read_prepared(folder: Path) -> None:
    if not (folder / f"digits_{SIDE}").exists():
        return
    from train.datasets.prepared import check_digests

    model = Model(image_size=SIDE, in_channels=1, num_classes=10)
    dataset = load_dataset(Data(name="digits", root=str(folder), half="first"), model)
    assert dataset.images[dataset.indices(np.arange(len(dataset)))].shape[1:] == (1, SIDE, SIDE)
    check_digests(folder / f"digits_{SIDE}")


READERS = by_name(
    Reader("image folder", write_images, read_images, examples=hostile_images),
    Reader("image archive", write_archive, read_archive, examples=hostile_archives),
    Reader("CIFAR-10", write_cifar10, read_cifar10),
    Reader("ImageNet npz", write_imagenet_npz, read_imagenet, examples=hostile_npz),
    Reader("ImageNet pickles", write_imagenet_pickles, read_imagenet, examples=hostile_pickles),
    Reader("prepared dataset", write_prepared, read_prepared),
)
