"""Down-sampled ImageNet as npz and as pickles, folders and zips; files that are something else."""

import os
import pickle
import zipfile

import numpy as np
import pytest

from configs.errors import UserError

EACH = 3


def batch(number: int, images: int = EACH, pixels: int = 12288) -> dict:
    noise = np.random.default_rng(number)
    data = noise.integers(256, size=(images, pixels), dtype=np.uint8)
    labels = [int(label) for label in noise.integers(1, 1001, size=images)]
    return {"data": data, "labels": labels, "mean": data.mean(axis=0)}


def pickled(content: dict, protocol: int, numpy_1: bool = False) -> bytes:
    written = pickle.dumps(content, protocol)
    return written.replace(b"numpy._core", b"numpy.core") if numpy_1 else written


@pytest.fixture
def archives(tmp_path):
    """A function: writes the ten files by `write(path, content)`; returns their folder."""

    def make(write, suffix=""):
        folder = tmp_path / "downloaded"
        folder.mkdir(exist_ok=True)
        for number in range(1, 11):
            write(folder / f"train_data_batch_{number}{suffix}", batch(number))
        return folder

    return make


def write_npz(path, content) -> None:
    np.savez(path, **content)


def write_pickle(path, content) -> None:
    path.write_bytes(pickled(content, 4))


def is_training_set(made) -> bool:
    contents = [batch(number) for number in range(1, 11)]
    images = np.concatenate([content["data"] for content in contents]).reshape(-1, 3, 64, 64)
    labels = np.concatenate([content["labels"] for content in contents]) - 1
    return np.array_equal(made.images, images) and np.array_equal(made.labels, labels)


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(compressed, archives, prepare, capsys):
    write = np.savez_compressed if compressed else np.savez
    made = prepare("imagenet64", archives(lambda path, content: write(path, **content), ".npz"), side=64)
    assert is_training_set(made) and made.about["images"] == [30, 3, 64, 64]
    assert "has 30 of the official 1,281,167 images" in capsys.readouterr().err


@pytest.mark.parametrize(("protocol", "numpy_1"), [(2, True), (3, True), (2, False), (4, False), (5, False)])
def test_pickles(protocol, numpy_1, archives, prepare):
    folder = archives(lambda path, content: path.write_bytes(pickled(content, protocol, numpy_1)))
    assert is_training_set(prepare("imagenet64", folder, side=64))


@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_the_two_zips_in_one_folder_as_they_are_given_out(write, suffix, archives, prepare, tmp_path):
    (tmp_path / "zips").mkdir()
    for file in archives(write, suffix).iterdir():
        number = int(file.stem.rpartition("_")[2])
        with zipfile.ZipFile(tmp_path / "zips" / f"Imagenet64_train_part{1 + number // 6}.zip", "a") as archive:
            archive.write(file, file.name)
    assert is_training_set(prepare("imagenet64", tmp_path / "zips", side=64))


def test_one_zip_of_all(archives, prepare, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in archives(write_npz, ".npz").iterdir():
            archive.write(file, f"Imagenet64/{file.name}")
    assert is_training_set(prepare("imagenet64", tmp_path / "all.zip", side=64))


def test_a_missing_part_is_named(archives, prepare):
    folder = archives(write_npz, ".npz")
    (folder / "train_data_batch_7.npz").unlink()
    with pytest.raises(UserError, match=r"lacks train_data_batch_7; get all parts from image-net.org"):
        prepare("imagenet64", folder, side=64)


def test_it_says_where_to_get_it(prepare):
    with pytest.raises(UserError, match=r"image-net.org .*Downsampled ImageNet.*data.source="):
        prepare("imagenet64", side=64)


class Evil:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_asks_for_more_than_arrays_is_refused_and_not_executed(archives, prepare, tmp_path, names):
    folder = archives(write_pickle)
    write_pickle(folder / "train_data_batch_3", batch(3) | {"mean": Evil(tmp_path / "executed")})
    with pytest.raises(UserError, match=r"train_data_batch_3 was not opened, as it asks to call posix.system"):
        prepare("imagenet64", folder, side=64)
    assert not (tmp_path / "executed").exists() and names() == []
    os.system(f"touch {tmp_path / 'executed'}")
    assert (tmp_path / "executed").exists(), "the attack would have been seen"


@pytest.mark.parametrize(
    "named", [b"cbuiltins\neval\n", b"cnumpy\nload\n", b"cnumpy.core.multiarray\n_reconstruct.__call__\n"]
)
def test_other_functions_are_refused_too(named, archives, prepare):
    folder = archives(write_pickle)
    (folder / "train_data_batch_1").write_bytes(b"\x80\x04" + named + b"(tR.")
    with pytest.raises(UserError, match="train_data_batch_1 was not opened, as it asks to call"):
        prepare("imagenet64", folder, side=64)


def wrong(**changes) -> dict:
    return batch(1) | changes


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (batch(1, pixels=3072), "images of 32 pixels, not 64"),
        (wrong(labels=[0, 1, 2]), "labels go from 0 to 2, not 1 to 1000"),
        (wrong(labels=[1, 2]), r"data is uint8 \[3, 12288\], there are 2 labels"),
        (wrong(labels=[1.0, 2.0, 3.0]), "labels are float64"),
        (wrong(data=np.zeros((EACH, 12288))), "data is float64"),
    ],
)
@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_other_content_is_refused(write, suffix, content, message, archives, prepare):
    folder = archives(write, suffix)
    write(folder / f"train_data_batch_1{suffix}", content)
    with pytest.raises(UserError, match=rf"train_data_batch_1{suffix} .*{message}"):
        prepare("imagenet64", folder, side=64)


@pytest.mark.parametrize(("write", "suffix"), [(write_npz, ".npz"), (write_pickle, "")])
def test_a_cut_file_is_damaged(write, suffix, archives, prepare, names):
    file = archives(write, suffix) / f"train_data_batch_10{suffix}"
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(UserError, match=rf"train_data_batch_10{suffix} is damaged \(.*get it again"):
        prepare("imagenet64", file.parent, side=64)
    assert names() == []
