"""CIFAR-10 in its official layout: unpacked, archived, and downloaded from a server of this machine."""

import hashlib
import io
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from configs.errors import UserError
from train.datasets import cifar10


def batch(seed: int, images: int = 40) -> tuple[np.ndarray, np.ndarray, bytes]:
    """Random images [n, 3, 32, 32] and labels [n], and the file of them."""
    noise = np.random.default_rng(seed)
    pixels, labels = noise.integers(256, size=(images, 3, 32, 32), dtype=np.uint8), noise.integers(10, size=images)
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
    """An archive of the official layout, its members in another order, whose digest is taken for the official one."""
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
    """The address of a server of the folder `served`."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=tmp_path / "served")) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def is_training_set(made) -> bool:
    images, labels, _ = zip(*map(batch, range(1, 6)), strict=True)
    return np.array_equal(made.images, np.concatenate(images)) and np.array_equal(made.labels, np.concatenate(labels))


@pytest.mark.parametrize("place", ["", ".."])
def test_unpacked_folder_or_the_one_around_it(place, unpacked, prepare, capsys):
    made = prepare("cifar10", unpacked / place)
    assert is_training_set(made) and made.about["class_names"][3] == "cat" and made.about["classes"] == 10
    assert "has 200 of the official 50,000 images" in capsys.readouterr().err


def test_archive_is_read_where_it_is(archive, prepare, tmp_path):
    before = set(tmp_path.rglob("*"))
    made = prepare("cifar10", archive)
    assert is_training_set(made) and made.about["source"] == str(archive)
    new = {path.name for path in set(tmp_path.rglob("*")) - before}
    assert new == {"prepared", ".cifar10_32.lock", "cifar10_32", "about.json", "images.npy", "labels.npy"}


def test_other_archives_are_refused(archive, prepare, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"not the official archive .* give https://.*cifar-10-binary.tar.gz"):
        prepare("cifar10", archive)


def test_archive_without_all_batches(tmp_path, prepare, monkeypatch):
    tarfile.open(tmp_path / "a.tar.gz", "w:gz").close()
    monkeypatch.setattr(cifar10, "DIGEST", "md5:" + hashlib.md5((tmp_path / "a.tar.gz").read_bytes()).hexdigest())
    with pytest.raises(UserError, match=r"lacks cifar-10-batches-bin/data_batch_1.bin"):
        prepare("cifar10", tmp_path / "a.tar.gz")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has 0 bytes, not a multiple of 3073"),
        (batch(1)[2][:-1], "has 122919 bytes, not a multiple of 3073"),
        (bytes([10]) + bytes(3072), "has the label 10, CIFAR-10 only 0 to 9"),
    ],
)
def test_files_that_are_no_batches(content, message, tmp_path, prepare, names):
    (tmp_path / "data_batch_1.bin").write_bytes(content)
    with pytest.raises(UserError, match=f"data_batch_1.bin {message}"):
        prepare("cifar10", tmp_path)
    assert names() == []


def test_folder_without_batches(tmp_path, prepare):
    with pytest.raises(UserError, match=r"holds no data_batch_1.bin"):
        prepare("cifar10", tmp_path)


def test_download_is_kept_and_not_repeated(archive, server, prepare, root, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/cifar.tar.gz")
    (root / "downloads").mkdir(parents=True)
    (root / "downloads" / ".partial-cifar.tar.gz-12345678").write_text("left by one that was killed")
    made = prepare("cifar10")
    assert is_training_set(made) and made.about["source"] == cifar10.URL
    assert [path.name for path in (root / "downloads").iterdir()] == ["cifar.tar.gz"]
    archive.unlink()
    made.folder.rename(root / "away")
    assert is_training_set(prepare("cifar10"))


def test_download_of_something_else_is_refused(archive, server, prepare, root, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/cifar.tar.gz")
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"/cifar.tar.gz is not the expected file .* data.source="):
        prepare("cifar10")
    assert not list((root / "downloads").iterdir())


def test_download_that_is_not_there(server, prepare, monkeypatch):
    monkeypatch.setattr(cifar10, "URL", f"{server}/none.tar.gz")
    with pytest.raises(UserError, match=r"/none.tar.gz cannot be downloaded \(404.* data.source="):
        prepare("cifar10")


def test_no_network_is_one_sentence(prepare, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setattr(cifar10, "URL", f"http://127.0.0.1:{port}/cifar.tar.gz")
    with pytest.raises(UserError, match=r"/cifar.tar.gz cannot be downloaded \(.*refused\); obtain the file") as error:
        prepare("cifar10")
    assert "\n" not in str(error.value) and "object at" not in str(error.value)
