"""Downsampled ImageNet as npz and pickle, in folders and zips; invalid and malicious files."""

import io
import os
import pickle
import struct
import zipfile

import numpy as np
import pytest

from configs.errors import UserError

IMAGES_PER_FILE = 3


def batch(number: int, images: int = IMAGES_PER_FILE, pixels: int = 12288) -> dict:
    rng = np.random.default_rng(number)
    data = rng.integers(256, size=(images, pixels), dtype=np.uint8)
    labels = [int(label) for label in rng.integers(1, 1001, size=images)]
    return {"data": data, "labels": labels, "mean": data.mean(axis=0)}


def pickled(content: dict, protocol: int, numpy_1: bool = False) -> bytes:
    data = pickle.dumps(content, protocol)
    return data.replace(b"numpy._core", b"numpy.core") if numpy_1 else data


@pytest.fixture
def archives(tmp_path):
    """A function that writes the ten files by `write(path, content)` and returns their folder."""

    def write_all(write, suffix=""):
        folder = tmp_path / "downloaded"
        folder.mkdir(exist_ok=True)
        for number in range(1, 11):
            write(folder / f"train_data_batch_{number}{suffix}", batch(number))
        return folder

    return write_all


def write_npz(path, content) -> None:
    np.savez(path, **content)


def write_pickle(path, content) -> None:
    path.write_bytes(pickled(content, 4))


def is_training_set(prepared) -> bool:
    contents = [batch(number) for number in range(1, 11)]
    images = np.concatenate([content["data"] for content in contents]).reshape(-1, 3, 64, 64)
    labels = np.concatenate([content["labels"] for content in contents]) - 1
    return np.array_equal(prepared.images, images) and np.array_equal(prepared.labels, labels)


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_files(compressed, archives, prepare, capsys):
    write = np.savez_compressed if compressed else np.savez
    prepared = prepare("imagenet64", archives(lambda path, content: write(path, **content), ".npz"), side=64)
    assert is_training_set(prepared) and prepared.about["images"] == [30, 3, 64, 64]
    assert "has 30 of the official 1,281,167 images" in capsys.readouterr().err


@pytest.mark.parametrize(("protocol", "numpy_1"), [(2, True), (3, True), (2, False), (4, False), (5, False)])
def test_pickle_files(protocol, numpy_1, archives, prepare):
    folder = archives(lambda path, content: path.write_bytes(pickled(content, protocol, numpy_1)))
    assert is_training_set(prepare("imagenet64", folder, side=64))


@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_two_zips_in_a_folder_as_distributed(write, suffix, archives, prepare, tmp_path):
    (tmp_path / "zips").mkdir()
    for file in archives(write, suffix).iterdir():
        number = int(file.stem.rpartition("_")[2])
        with zipfile.ZipFile(tmp_path / "zips" / f"Imagenet64_train_part{1 + number // 6}.zip", "a") as archive:
            archive.write(file, file.name)
    assert is_training_set(prepare("imagenet64", tmp_path / "zips", side=64))


def test_single_zip_of_all_files(archives, prepare, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in archives(write_npz, ".npz").iterdir():
            archive.write(file, f"Imagenet64/{file.name}")
    assert is_training_set(prepare("imagenet64", tmp_path / "all.zip", side=64))


def test_missing_file_is_named(archives, prepare):
    folder = archives(write_npz, ".npz")
    (folder / "train_data_batch_7.npz").unlink()
    with pytest.raises(UserError, match=r"does not contain train_data_batch_7; download all parts from image-net.org"):
        prepare("imagenet64", folder, side=64)


def test_error_names_the_download_page(prepare):
    with pytest.raises(UserError, match=r"image-net.org .*Downsampled ImageNet.*data.source="):
        prepare("imagenet64", side=64)


class Malicious:
    """An object whose pickle runs a shell command."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


def test_malicious_pickle_is_rejected_and_not_executed(archives, prepare, tmp_path, names):
    folder = archives(write_pickle)
    write_pickle(folder / "train_data_batch_3", batch(3) | {"mean": Malicious(tmp_path / "executed")})
    with pytest.raises(UserError, match=r"train_data_batch_3 was rejected because it would call posix.system"):
        prepare("imagenet64", folder, side=64)
    assert not (tmp_path / "executed").exists() and names() == []
    os.system(f"touch {tmp_path / 'executed'}")
    assert (tmp_path / "executed").exists(), "the test detects the command"


@pytest.mark.parametrize(
    "reference", [b"cbuiltins\neval\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\n_reconstruct.__call__\n"]
)
def test_other_functions_in_pickles_are_rejected(reference, archives, prepare):
    folder = archives(write_pickle)
    (folder / "train_data_batch_1").write_bytes(b"\x80\x04" + reference + b"(tR.")
    with pytest.raises(UserError, match="train_data_batch_1 was rejected because it would call"):
        prepare("imagenet64", folder, side=64)


def changed_batch(**changes) -> dict:
    return batch(1) | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(1, pixels=3072), "images of 32 pixels, not 64"),
        (changed_batch(labels=[0, 1, 2]), "labels range from 0 to 2, not 1 to 1000"),
        (changed_batch(labels=[1, 2]), r"data is uint8 \[3, 12288\] for 2 labels"),
        (changed_batch(labels=[1.0, 2.0, 3.0]), "labels are float64"),
        (changed_batch(data=np.zeros((IMAGES_PER_FILE, 12288))), "data is float64"),
    ],
)
@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_invalid_content_is_rejected(write, suffix, content, message, archives, prepare):
    folder = archives(write, suffix)
    write(folder / f"train_data_batch_1{suffix}", content)
    with pytest.raises(UserError, match=rf"train_data_batch_1{suffix} .*{message}"):
        prepare("imagenet64", folder, side=64)


@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_truncated_file_is_damaged(write, suffix, archives, prepare, names):
    file = archives(write, suffix) / f"train_data_batch_10{suffix}"
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(UserError, match=rf"train_data_batch_10{suffix} is damaged \(.*download it again"):
        prepare("imagenet64", file.parent, side=64)
    assert names() == []


@pytest.mark.parametrize("member", ["labels.npy", "data.npy"])
@pytest.mark.parametrize("shape", [(10**12,), (2**62, 12288), ()])
def test_npz_with_absurd_shape_is_damaged(member, shape, archives, prepare):
    folder = archives(write_npz, ".npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i8", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(folder / "train_data_batch_3.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()} | {member: header.getvalue()}
    with zipfile.ZipFile(folder / "train_data_batch_3.npz", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(UserError, match=r"train_data_batch_3.npz is damaged \((labels are|data is) int64"):
        prepare("imagenet64", folder, side=64)


class Array:
    """An object whose pickle calls numpy.ndarray."""

    def __reduce__(self):
        return np.ndarray, ((10**6, 10**6),)


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (pickle.dumps(Array()), "damaged .*not callable"),
        (b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"N.", "damaged .*FRAME 9223372036854775808 exceeds the size"),
        (b"\x80\x02Nr" + struct.pack("<I", 2**32 - 2) + b".", "damaged .*LONG_BINPUT 4294967294 exceeds the size"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b".", "damaged .*expected 4611686018427387904 bytes"),
        (b"\x80\x02}N" + b"\x85" * 200_000 + b"Ns.", "damaged .*too many objects"),
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85Nt.", "damaged"),
        (b"\x80\x02cnumpy._core.multiarray\n_reconstruct\nNK\x05\x85N\x87R.", "rejected .*_reconstruct"),
    ],
)
def test_pickle_that_states_absurd_sizes_is_rejected(pickled, message, archives, prepare):
    folder = archives(write_pickle)
    (folder / "train_data_batch_2").write_bytes(pickled)
    with pytest.raises(UserError, match=rf"train_data_batch_2 (is|was) {message}"):
        prepare("imagenet64", folder, side=64)
