"""Links in folders of images: an image counts once, in one class and in one split."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from ddpnas import load_data
from ddpnas.data.folder import images_below
from ddpnas.data.load import load_labelled
from ddpnas.errors import DataError


def images(root, classes="ab", number=6):
    for value, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i in range(number):
            pixels = np.full((4, 4), 100 * value + i, dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def sizes(path):
    return {name: len(split) for name, split in load_data(path).splits.items()}


@pytest.mark.parametrize("target", [".", "..", "../.."])
@pytest.mark.parametrize("place", ["a/again", "again"])
def test_a_link_to_a_folder_above_adds_no_image(tmp_path, target, place):
    whole = load_data(images(tmp_path / "clean"))
    root = images(tmp_path / "outer" / "linked")
    (root / place).symlink_to(target, target_is_directory=True)
    data = load_data(root)
    assert data.classes == whole.classes and data.fingerprint() == whole.fingerprint()
    assert len(images_below(root)) == 12
    assert len(load_labelled(root, ("a", "b"), (1, 4, 4))[1]) == 12


def test_links_that_point_to_each_other_end(tmp_path):
    root = images(tmp_path)
    (root / "a" / "x").symlink_to("y")
    (root / "a" / "y").symlink_to("x")
    (root / "z").symlink_to("z")
    assert sum(sizes(root).values()) == 12


def test_second_names_of_an_image_are_left_out_and_counted(tmp_path, caplog):
    whole = load_data(images(tmp_path / "clean"))
    root = images(tmp_path / "linked")
    (root / "a" / "7.png").symlink_to("0.png")
    os.link(root / "a" / "1.png", root / "a" / "8.png")
    (root / "b" / "more").symlink_to("../b")
    (root / "b" / "inner").mkdir()
    (root / "b" / "inner" / "0.png").symlink_to("../0.png")
    with caplog.at_level("INFO", "ddpnas.data"):
        data = load_data(root)
    assert data.fingerprint() == whole.fingerprint()
    assert "left out: 3 links to images that are there already" in caplog.text


def test_images_behind_links_are_read(tmp_path):
    pool = images(tmp_path / "pool")
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
    for name in "ab":
        (tmp_path / "set" / "train" / name).symlink_to(pool / name)
    images(tmp_path / "set" / "other", number=2)
    (tmp_path / "set" / "test").rmdir()
    (tmp_path / "set" / "test").symlink_to("other")
    assert load_data(tmp_path / "set").test.labels.tolist() == [0, 0, 1, 1]


def test_an_image_in_two_classes_is_refused(tmp_path):
    root = images(tmp_path / "folders")
    (root / "c").symlink_to("b")
    with pytest.raises(DataError, match="same file, so one image is in the classes 'b' and 'c'"):
        load_data(root)
    root = images(tmp_path / "files")
    os.link(root / "a" / "3.png", root / "b" / "9.png")
    with pytest.raises(DataError, match=r"b/9.png and .*a/3.png are the same file"):
        load_data(root)


@pytest.mark.parametrize("target", ["train", "test"])
def test_splits_that_share_images_are_refused(tmp_path, target):
    images(tmp_path / "train")
    images(tmp_path / "test", number=2)
    (tmp_path / "valid").symlink_to(target)
    with pytest.raises(DataError, match="the splits .* and .* share an image; keep it in one"):
        load_data(tmp_path)


def test_a_link_to_nothing_and_a_pipe_are_named(tmp_path):
    root = images(tmp_path / "broken")
    (root / "a" / "x.png").symlink_to("gone.png")
    with pytest.raises(DataError, match=r"x.png .*No such file .*; it is a link to gone\.png"):
        load_data(root)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes")
def test_a_pipe_is_no_image(tmp_path):
    root = images(tmp_path)
    os.mkfifo(root / "a" / "x.png")
    with pytest.raises(DataError, match="x.png cannot be read: it is a pipe or a device, not"):
        load_data(root)
    with pytest.raises(DataError, match="is a pipe or a device"):
        load_data(root / "a" / "x.png")


def test_splits_inside_classes_and_splits_are_refused(tmp_path):
    for split in ("train", "test"):
        images(tmp_path / "inside" / "a" / split)
        images(tmp_path / "inside" / "b" / split)
    with pytest.raises(DataError, match=r"a holds splits \(test, train\); splits are outside"):
        load_data(tmp_path / "inside")
    images(tmp_path / "nested" / "train")
    images(tmp_path / "nested" / "train" / "valid")
    with pytest.raises(DataError, match="it is a split inside a split; move it next to train/"):
        load_data(tmp_path / "nested")
    images(tmp_path / "deeper" / "images")
    with pytest.raises(DataError, match="one class only .*or is it .*images that holds them"):
        load_data(tmp_path / "deeper")


def test_a_class_may_be_called_like_a_split(tmp_path):
    images(tmp_path / "train", ("bus", "train"))
    assert load_data(tmp_path).classes == ("bus", "train")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_class_folder_whose_name_is_not_utf8_is_refused_first(tmp_path):
    root = images(tmp_path)
    (root / os.fsdecode(b"caf\xe9")).mkdir()
    with pytest.raises(DataError, match=r"'caf\\udce9', which is not UTF-8; rename the class"):
        load_data(root)


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    root = images(tmp_path)
    (root / "a" / "closed").mkdir()
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match="the folder .*closed cannot be read: Permission denied"):
        load_data(root)
