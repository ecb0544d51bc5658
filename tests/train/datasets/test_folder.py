"""Folders of images: file selection, order, classes and damaged files."""

import os
import shutil
import zipfile

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageFile

from configs.errors import UserError
from train.datasets import resize
from train.datasets.folder import labels_of


def test_all_formats_at_any_depth_in_path_order(picture, prepare):
    files = ["b/2.png", "a/deep/1.JPG", "a/x.webp", "c.bmp", "a/y.gif", "a!.jpeg", "d.tif", "e.ppm"]
    for shade, name in enumerate(files):
        source = picture(name, color=(shade * 30,) * 3)
    (source / "notes.txt").write_text("not an image")
    prepared = prepare("folder", source, side=4)
    order = [files[shade] for shade in np.round(prepared.images[:, 0, 0, 0] / 30).astype(int)]
    assert order == ["a/deep/1.JPG", "a/x.webp", "a/y.gif", "a!.jpeg", "b/2.png", "c.bmp", "d.tif", "e.ppm"]
    assert prepared.about["source"] == str(source) and prepared.about["images"] == [8, 3, 4, 4]


def test_animation_gives_its_first_frame(picture, prepare):
    frames = [Image.new("RGB", (10, 8), (0, 0, 255))]
    source = picture("animation.gif", color=(255, 0, 0), save_all=True, append_images=frames)
    assert prepare("folder", source, side=4).images[0, :, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("names", "labels", "class_names"),
    [
        (["cat_1.png", "dog_1.png", "cat_2_x.png"], [0, 1, 0], ["cat", "dog"]),
        (["all/dog_1.png", "all/cat_1.png"], [1, 0], ["cat", "dog"]),
        (["cat_1.png", "dog.png"], [0, 0], None),
        (["dog/a_1.png", "cat/b_1.png"], [1, 0], ["cat", "dog"]),
        (["train/cat/1.png", "train/dog/1.png", "test/cat/2.png"], [0, 1, 0], ["cat", "dog"]),
        (["n2/images/1.png", "n1/images/1.png"], [1, 0], ["n1/images", "n2/images"]),
        (["top.png", "cat/1.png"], [0, 1], [".", "cat"]),
    ],
)
def test_labels(names, labels, class_names):
    actual_labels, actual_names = labels_of(names)
    assert (actual_labels.tolist(), actual_names) == (labels, class_names) and actual_labels.dtype == np.int64


def test_zip_equals_its_unpacked_folder(picture, prepare, tmp_path):
    for name in ("cat/1.png", "dog/1.png", "dog/2.jpg"):
        source = picture(name, color=(len(name) * 9, 80, 3), size=(33, 47))
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", source)
    unpacked = prepare("folder", source, side=16)
    shutil.rmtree(unpacked.folder)
    zipped = prepare("folder", archive, side=16)
    assert (unpacked.images == zipped.images).all() and zipped.labels.tolist() == [0, 1, 1]
    assert zipped.about["class_names"] == ["cat", "dog"] and zipped.about["source"] == archive


def test_result_does_not_depend_on_the_number_of_processes(picture, prepare):
    rng = np.random.default_rng(0)
    for number in range(150):
        source = picture(
            f"{number % 3}/{number}.png",
            tuple(rng.integers(256, size=3)),
            tuple(rng.integers(4, 40, size=2).tolist()),
        )
    (source / "1" / "100.png").write_bytes(b"broken")
    single = prepare("folder", source, side=8, skip_damaged=True)
    shutil.rmtree(single.folder)
    several = prepare("folder", source, side=8, skip_damaged=True, workers=3)
    assert (single.images == several.images).all() and (single.labels == several.labels).all()
    assert single.about == several.about and len(single.images) == 149


def test_files_added_by_macos_are_ignored(picture, prepare):
    source = picture("a.png")
    for junk in ("._a.png", "__MACOSX/a.png", ".DS_Store", ".hidden/b.png"):
        (source / junk).parent.mkdir(exist_ok=True)
        (source / junk).write_bytes(b"\0\5\x16\7")
    assert len(prepare("folder", source, side=4).images) == 1


def test_symbolic_link_to_a_parent_folder_is_not_followed(picture, prepare):
    source = picture("a/1.png")
    os.symlink(source, source / "a" / "parent")
    assert len(prepare("folder", source, side=4).images) == 1


def folder_with_damage(picture, intact=3, damaged=7):
    for number in range(intact):
        source = picture(f"{number}_intact.png", size=(100, 100))
    for number in range(damaged - 1):
        (source / f"{number}_text.jpg").write_text("not an image")
    (source / "9_cut.png").write_bytes((source / "0_intact.png").read_bytes()[:60])
    return source


def test_error_counts_and_names_damaged_images(picture, prepare, names):
    with pytest.raises(UserError) as error:
        prepare("folder", folder_with_damage(picture), side=4)
    assert str(error.value).startswith("7 of 10 images are damaged: 0_text.jpg (not an image), 1_text.jpg")
    assert "4_text.jpg (not an image), … in data.source=" in str(error.value)
    assert "5_text.jpg" not in str(error.value) and "data.skip_damaged=true" in str(error.value)
    assert names() == []


def test_damaged_images_are_skipped_and_listed_if_requested(picture, prepare, capsys):
    prepared = prepare("folder", folder_with_damage(picture), side=4, skip_damaged=True)
    assert len(prepared.images) == 3 and prepared.labels.tolist() == [0, 1, 2]
    assert len(prepared.about["left_out"]) == 7 and prepared.about["left_out"]["0_text.jpg"] == "not an image"
    assert "skipped 7 damaged images of 10" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"prepared without 7 damaged images; set data.skip_damaged=true"):
        prepare("folder", side=4)


def test_truncated_jpeg_is_damaged(picture, prepare):
    source = picture("intact.jpg", size=(300, 300))
    (source / "cut.jpg").write_bytes((source / "intact.jpg").read_bytes()[:-200])
    with pytest.raises(UserError, match=r"1 of 2 images is damaged: cut.jpg \(image file is truncated"):
        prepare("folder", source, side=4)


def test_elongated_image_is_damaged(picture, prepare):
    source = picture("line.png", size=(100_000, 1))
    with pytest.raises(UserError, match=r"line.png \(its 100000 × 1 pixels are too elongated to crop a square\)"):
        prepare("folder", source, side=4)


def test_transparent_and_long_images_are_noted(picture, prepare, capsys):
    picture("square.png", size=(8, 8))
    picture("long.png", size=(30, 8))
    source = picture("transparent.png", mode="RGBA", color=(255, 0, 0, 0))
    assert len(prepare("folder", source, side=4).images) == 3
    notes = capsys.readouterr().err
    assert "note: 1 of 3 images have an alpha channel or a transparent color, which is ignored\n" in notes
    assert "note: 1 of 3 images are more than twice as long as wide; only the center square is used\n" in notes


def test_decompression_bomb_is_damaged(picture, prepare, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    source = picture("bomb.png", size=(10, 10))
    with pytest.raises(UserError, match=r"bomb.png \(Image size \(100 pixels\) exceeds limit of 40 pixels"):
        prepare("folder", source, side=4)


def test_image_file_of_gigabytes_is_not_read(picture, prepare):
    source = picture("large.webp")
    with open(source / "large.webp", "ab") as file:
        file.truncate(2**30)  # sparse
    with pytest.raises(UserError, match=r"large.webp \(its 1,073,741,824 bytes exceed the limit of 536,870,912\)"):
        prepare("folder", source, side=4)


def test_postscript_is_not_executed(picture, prepare, monkeypatch):
    source, opened = picture("a.png"), []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: opened.append(args))
    Image.new("RGB", (9, 9)).save(source / "a.eps")
    (source / "a.eps").rename(source / "a.png")
    with pytest.raises(UserError, match=r"a.png \(not an image\)"):
        prepare("folder", source, side=4)
    assert opened == []


@pytest.mark.parametrize(
    ("error", "skip_damaged", "message"),
    [
        (EOFError, False, r"a.png \(EOFError\)"),
        (MemoryError, True, r"the memory is too small to read a\.png"),
        (ImageFile._get_oserror(-9, encoder=False), True, r"the memory is too small to read a\.png"),
    ],
)
def test_an_error_without_message_has_a_reason(error, skip_damaged, message, picture, prepare, monkeypatch):
    """An image is not skipped because the memory is full: otherwise the data set would depend on the machine."""

    def fail(*args):
        raise error

    source = picture("a.png")
    monkeypatch.setattr(resize, "resize_and_crop", fail)
    with pytest.raises(UserError, match=message):
        prepare("folder", source, side=4, skip_damaged=skip_damaged)


def test_names_in_an_archive_write_nothing(picture, prepare, tmp_path):
    data = (picture("a.png") / "a.png").read_bytes()
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("../b/1.png", "/c/2.png", "d/../../../3.png", "NUL.png"):
            archive.writestr(name, data)
    content = (tmp_path / "all.zip").read_bytes()
    (tmp_path / "all.zip").write_bytes(content.replace(b"NUL", b"\0UL"))  # zipfile reads the name up to the zero byte
    before = sorted(tmp_path.rglob("*"))
    prepared = prepare("folder", tmp_path / "all.zip", side=4)
    assert len(prepared.images) == 1, "names with .. are those of hidden files"
    assert [
        path for path in sorted(tmp_path.rglob("*")) if prepared.folder.parent not in (path, *path.parents)
    ] == before


def test_unusual_compression_is_damaged(picture, prepare, tmp_path):
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_LZMA) as archive:
        archive.write(picture("a.png") / "a.png", "a.png")
    with pytest.raises(UserError, match=r"a.png \(a.png is compressed by another method than deflate or bzip2\)"):
        prepare("folder", tmp_path / "all.zip", side=4)


def test_error_if_all_images_are_damaged(picture, prepare, names):
    source = picture("a.png")
    (source / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the images"):
        prepare("folder", source, side=4, skip_damaged=True)
    assert names() == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "needs data.source="),
        ("missing", "data.source=.*missing does not exist"),
        ("empty", "contains no images"),
        ("text.zip", "neither a folder nor an intact zip"),
    ],
)
def test_sources_without_images_are_rejected(source, message, prepare, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(UserError, match=message):
        prepare("folder", source and tmp_path / source)


def test_channels_must_match_the_model(picture, prepare):
    source = picture("a.png")
    assert prepare("folder", source, side=4, channels=1).images.shape == (1, 1, 4, 4)
    with pytest.raises(UserError, match=r"has images with 1 color channels, not model.in_channels=3"):
        prepare("folder", source, side=4, channels=3)
