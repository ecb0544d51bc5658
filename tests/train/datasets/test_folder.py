"""Any folder of images: which files, in which order, of which class, and what becomes of damaged ones."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from configs.errors import UserError
from train.datasets.folder import labels_of


def test_all_kinds_at_any_depth_in_the_order_of_their_paths(picture, prepare):
    files = ["b/2.png", "a/deep/1.JPG", "a/x.webp", "c.bmp", "a/y.gif", "a!.jpeg", "d.tif", "e.ppm"]
    for shade, name in enumerate(files):
        source = picture(name, colour=(shade * 30,) * 3)
    (source / "notes.txt").write_text("no image")
    made = prepare("folder", source, side=4)
    found = [files[shade] for shade in np.round(made.images[:, 0, 0, 0] / 30).astype(int)]
    assert found == ["a/deep/1.JPG", "a/x.webp", "a/y.gif", "a!.jpeg", "b/2.png", "c.bmp", "d.tif", "e.ppm"]
    assert made.about["source"] == str(source) and made.about["images"] == [8, 3, 4, 4]


def test_only_the_first_frame_of_a_moving_image(picture, prepare):
    more = [Image.new("RGB", (10, 8), (0, 0, 255))]
    source = picture("moving.gif", colour=(255, 0, 0), save_all=True, append_images=more)
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
    numbers, named = labels_of(names)
    assert (numbers.tolist(), named) == (labels, class_names) and numbers.dtype == np.int64


def test_a_zip_is_read_like_the_folder_in_it(picture, prepare, tmp_path):
    for name in ("cat/1.png", "dog/1.png", "dog/2.jpg"):
        source = picture(name, colour=(len(name) * 9, 80, 3), size=(33, 47))
    archive = shutil.make_archive(str(tmp_path / "all"), "zip", source)
    unpacked = prepare("folder", source, side=16)
    shutil.rmtree(unpacked.folder)
    zipped = prepare("folder", archive, side=16)
    assert (unpacked.images == zipped.images).all() and zipped.labels.tolist() == [0, 1, 1]
    assert zipped.about["class_names"] == ["cat", "dog"] and zipped.about["source"] == archive


def test_several_processes_give_the_same_as_one(picture, prepare):
    noise = np.random.default_rng(0)
    for number in range(150):
        source = picture(
            f"{number % 3}/{number}.png",
            tuple(noise.integers(256, size=3)),
            tuple(noise.integers(4, 40, size=2).tolist()),
        )
    (source / "1" / "100.png").write_bytes(b"broken")
    one = prepare("folder", source, side=8, skip_damaged=True)
    shutil.rmtree(one.folder)
    several = prepare("folder", source, side=8, skip_damaged=True, workers=3)
    assert (one.images == several.images).all() and (one.labels == several.labels).all()
    assert one.about == several.about and len(one.images) == 149


def test_what_macos_adds_is_no_image(picture, prepare):
    source = picture("a.png")
    for junk in ("._a.png", "__MACOSX/a.png", ".DS_Store", ".hidden/b.png"):
        (source / junk).parent.mkdir(exist_ok=True)
        (source / junk).write_bytes(b"\0\5\x16\7")
    assert len(prepare("folder", source, side=4).images) == 1


def test_a_link_to_the_folder_above_ends(picture, prepare):
    source = picture("a/1.png")
    os.symlink(source, source / "a" / "again")
    assert len(prepare("folder", source, side=4).images) == 1


def break_some(picture, whole=3, broken=7):
    for number in range(whole):
        source = picture(f"{number}_whole.png", size=(100, 100))
    for number in range(broken - 1):
        (source / f"{number}_text.jpg").write_text("not at all an image")
    (source / "9_cut.png").write_bytes((source / "0_whole.png").read_bytes()[:60])
    return source


def test_damaged_images_are_counted_and_named_in_one_error(picture, prepare, names):
    with pytest.raises(UserError) as error:
        prepare("folder", break_some(picture), side=4)
    assert str(error.value).startswith("7 of 10 images are damaged: 0_text.jpg (not an image), 1_text.jpg")
    assert "4_text.jpg (not an image), … in data.source=" in str(error.value)
    assert "5_text.jpg" not in str(error.value) and "data.skip_damaged=true" in str(error.value)
    assert names() == []


def test_damaged_images_are_left_out_if_wanted_and_listed(picture, prepare, capsys):
    made = prepare("folder", break_some(picture), side=4, skip_damaged=True)
    assert len(made.images) == 3 and made.labels.tolist() == [0, 1, 2]
    assert len(made.about["left_out"]) == 7 and made.about["left_out"]["0_text.jpg"] == "not an image"
    assert "left out 7 damaged images of 10" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"made without 7 damaged images, but data.skip_damaged=false"):
        prepare("folder", side=4)


def test_truncated_photographs_are_damaged(picture, prepare):
    source = picture("whole.jpg", size=(300, 300))
    (source / "cut.jpg").write_bytes((source / "whole.jpg").read_bytes()[:-200])
    with pytest.raises(UserError, match=r"1 of 2 image is damaged: cut.jpg \(image file is truncated"):
        prepare("folder", source, side=4)


def test_only_damaged_images_are_no_data_set(picture, prepare, names):
    source = picture("a.png")
    (source / "a.png").write_bytes(b"")
    with pytest.raises(UserError, match="none of the images"):
        prepare("folder", source, side=4, skip_damaged=True)
    assert names() == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "needs data.source="),
        ("nowhere", "data.source=.*nowhere does not exist"),
        ("empty", "holds no images"),
        ("text.zip", "neither a folder nor a whole zip"),
    ],
)
def test_sources_without_images(source, message, prepare, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UserError, match=message):
        prepare("folder", source and tmp_path / source)


def test_colours_of_the_model_are_those_of_the_set(picture, prepare):
    source = picture("a.png")
    assert prepare("folder", source, side=4, channels=1).images.shape == (1, 1, 4, 4)
    with pytest.raises(UserError, match=r"has images of 1 colour channels, not model.in_channels=3"):
        prepare("folder", source, side=4, channels=3)
