"""CIFAR-10 in its official layout: unpacked, archived, and downloaded from a local server."""

import hashlib
import io
import os
import socket
import tarfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from configs.errors import UserError
from train.datasets import cifar10


def batch(seed: int, images: int = 40) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Return random images [n, 3, 32, 32], labels [n], and their binary records."""
    rng = np.random.default_rng(seed)
    pixels, labels = rng.integers(256, size=(images, 3, 32, 32), dtype=np.uint8), rng.integers(10, size=images)
    records = b"".join(bytes([label]) + image.tobytes() for label, image in zip(labels, pixels, strict=True))
    return pixels, labels, records


@pytest.fixture
def unpacked(tmp_path):
    folder = tmp_path / "unpacked" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(1, 6):
        (folder / f"data_batch_{number}.bin").write_bytes(batch(number)[2])
    (folder / "test_batch.bin").write_bytes(batch(6)[2])
    return folder


@pytest.fixture
def archive(unpacked, tmp_path, monkeypatch):
    """An archive in the official layout with its members in reverse order; its digest replaces the official one."""
    path = tmp_path / "served" / "cifar.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as tar:
        for file in sorted(unpacked.iterdir(), reverse=True):
            tar.add(file, f"cifar-10-batches-bin/{file.name}")
        outside = tarfile.TarInfo("../data_batch_1.bin")
        tar.addfile(outside, io.BytesIO())
    monkeypatch.setattr(cifar10, "DIGEST", "md5:" + hashlib.md5(path.read_bytes()).hexdigest())
    return path


@pytest.fixture
def server(tmp_path):
    """The URL of a server of the folder `served`."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=tmp_path / "served")) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http_server.server_port}"
        http_server.shutdown()


def is_training_set(prepared) -> bool:
    images, labels, _ = zip(*map(batch, range(1, 6)), strict=True)
    same_images = np.array_equal(prepared.images, np.concatenate(images))
    return same_images and np.array_equal(prepared.labels, np.concatenate(labels))


@pytest.mark.parametrize("subfolder", ["", ".."])
def test_unpacked_folder_or_its_parent(subfolder, unpacked, prepare, capsys):
    prepared = prepare("cifar10", unpacked / subfolder)
    assert is_training_set(prepared) and prepared.about["class_names"][3] == "cat" and prepared.about["classes"] == 10
    assert "has 200 of the official 50,000 images" in capsys.readouterr().err


def test_archive_is_read_without_unpacking(archive, prepare, tmp_path):
    before = set(tmp_path.rglob("*"))
    prepared = prepare("cifar10", archive)
    assert is_training_set(prepared) and prepared.about["source"] == str(archive)
    new = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert new == {
        "prepared",
        ".cifar10_32.lock",
        "cifar10_32",
        "about.json",
        "images.npy",
        "labels.npy",
        "preview.png",
    }


def test_unofficial_archive_is_rejected(archive, prepare, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"not the official archive .* give https://.*cifar-10-binary.tar.gz"):
        prepare("cifar10", archive)


def test_archive_without_all_batches_is_rejected(tmp_path, prepare, monkeypatch):
    tarfile.open(tmp_path / "a.tar.gz", "w:gz").close()
    monkeypatch.setattr(cifar10, "DIGEST", "md5:" + hashlib.md5((tmp_path / "a.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(UserError, match=r"does not contain cifar-10-batches-bin/data_batch_1.bin"):
        prepare("cifar10", tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, not a multiple of 3073"),
        (batch(1)[2][:-1], "has 122919 bytes, not a multiple of 3073"),
        (bytes([10]) + bytes(3072), "has label 10, but CIFAR-10 has labels 0 to 9 only"),
    ],
)
def test_invalid_batch_files_are_rejected(content, message, tmp_path, prepare, names):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(UserError, match=f"data_batch_1.bin {message}"):
        prepare("cifar10", tmp_path)
    assert names() == []


def test_folder_without_batches_is_rejected(tmp_path, prepare):
    with pytest.raises(UserError, match=r"contains no data_batch_1.bin"):
        prepare("cifar10", tmp_path)


def test_download_is_cached(archive, server, prepare, root, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/cifar.tar.gz")
    (root / "downloads").mkdir(parents=True)
    old, new = (root / "downloads" / f".partial-tmp1f0c-{name}" for name in ("12345678", "87654321"))
    old.write_text("left by a killed process")
    os.utime(old, (time.time() - 7200,) * 2)
    new.write_text("being written by another process, on a file system without locks")
    prepared = prepare("cifar10")
    assert is_training_set(prepared) and prepared.about["source"] == cifar10.URL
    assert sorted(path.name for path in (root / "downloads").iterdir()) == [new.name, "cifar.tar.gz"]
    archive.unlink()
    prepared.folder.rename(root / "moved")
    assert is_training_set(prepare("cifar10"))


def test_download_with_wrong_digest_is_rejected(archive, server, prepare, root, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/cifar.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"/cifar.tar.gz is not the expected file .* data.source="):
        prepare("cifar10")
    assert not list((root / "downloads").iterdir())


def test_missing_download_names_the_option(server, prepare, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/none.tar.gz")
    with pytest.raises(UserError, match=r"/none.tar.gz cannot be downloaded \(404.* data.source="):
        prepare("cifar10")


def test_missing_network_gives_a_one_line_error(prepare, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{port}/cifar.tar.gz")
    with pytest.raises(UserError, match=r"/cifar.tar.gz cannot be downloaded \(.*refused\); obtain the file") as error:
        prepare("cifar10")
    assert "\n" not in str(error.value) and "object at" not in str(error.value)
