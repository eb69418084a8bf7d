"""Folders as people have them: splits of other names, hidden files, odd images."""

import numpy as np
import pytest
from PIL import Image

from ddpnas import load_data, make_data
from ddpnas.data import load_labelled
from ddpnas.errors import DataError


def picture(value, mode="L"):
    if mode == "I;16":
        return Image.fromarray(np.full((8, 8), value, dtype=np.uint16))
    return Image.fromarray(np.full((8, 8), value, dtype=np.uint8)).convert(mode)


def folder(root, values=(0, 200), number=6, mode="L"):
    for name, value in zip("ab", values):
        (root / name).mkdir(parents=True)
        for i in range(number):
            picture(value, mode).save(root / name / f"{i}.png")
    return root


@pytest.mark.parametrize("name", ["Train", "training", "Test"])
def test_folders_that_are_splits_by_another_name_are_no_classes(tmp_path, name):
    folder(tmp_path / name)
    folder(tmp_path / "other")
    with pytest.raises(DataError, match="name the folders of the splits train, valid and test"):
        load_data(tmp_path)


@pytest.mark.parametrize("name", ["Test", "testing", "VAL", "training"])
def test_next_to_train_a_split_by_another_name_is_refused(tmp_path, name):
    trained = load_data(folder(tmp_path / "train"))
    folder(tmp_path / name)
    with pytest.raises(DataError, match=f"'{name}', whose images would not be read; name the"):
        load_data(tmp_path)
    with pytest.raises(DataError, match=f"'{name}', whose images would not be read; name the"):
        load_labelled(tmp_path, trained.classes, (1, 8, 8))


def test_validation_is_a_name_of_the_validation_images(tmp_path):
    folder(tmp_path / "train")
    folder(tmp_path / "validation", number=2)
    assert len(load_data(tmp_path).valid) == 4


def test_two_folders_of_one_split_are_refused(tmp_path):
    for name in ("train", "valid", "val"):
        folder(tmp_path / name)
    with pytest.raises(DataError, match="valid and .*val are the same split; keep one of them"):
        load_data(tmp_path)


def test_images_without_labels_are_refused_with_what_to_do(tmp_path):
    folder(tmp_path / "train")
    (tmp_path / "test").mkdir()
    picture(0).save(tmp_path / "test" / "0.png")
    with pytest.raises(DataError, match="no class folders; .*without labels, rename it"):
        load_data(tmp_path)


def test_what_systems_and_editors_leave_is_not_read(tmp_path):
    whole = load_data(folder(tmp_path / "clean"))
    folder(tmp_path / "used")
    (tmp_path / "used" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "used" / "__MACOSX").mkdir()
    (tmp_path / "used" / "a" / "._0.png").write_bytes(b"no image")
    (tmp_path / "used" / "a" / ".ipynb_checkpoints").mkdir()
    picture(9).save(tmp_path / "used" / "a" / ".ipynb_checkpoints" / "0-checkpoint.png")
    used = load_data(tmp_path / "used")
    assert used.classes == whole.classes and len(used.train) == len(whole.train)


def test_what_is_no_image_is_counted_by_kind_in_one_line(tmp_path, caplog):
    caplog.set_level("INFO", "ddpnas.data.folder")
    folder(tmp_path)
    load_data(tmp_path)
    assert not caplog.records
    for name in ("a/0.HEIC", "a/1.heic", "b/notes", "b/.hidden.gif"):
        (tmp_path / name).touch()
    picture(0).save(tmp_path / "0.png")
    load_data(tmp_path)
    (record,) = caplog.records
    assert record.message == (
        f"left out in {tmp_path}: 2 .heic, 1 without an ending, 1 in no class folder; read: 12 "
        f"images"
    )
    for i in range(12):
        (tmp_path / "b" / f"{i}.gif").touch()
    load_data(tmp_path)
    assert "MOST files" in caplog.records[-1].message and "as .png" in caplog.records[-1].message
    for image in (tmp_path / "b").glob("*.png"):
        image.unlink()
    with pytest.raises(DataError, match=r"b has no images .*, but 12 \.gif, .*save these as \.png"):
        load_data(tmp_path)


def test_sixteen_bits_become_eight_and_32_are_refused(tmp_path):
    data = load_data(folder(tmp_path / "deep", values=(0, 28_000), mode="I;16"))
    assert data.input_shape == (1, 8, 8)
    assert data.train.inputs.unique().tolist() == [0, 28_000 // 256]
    (tmp_path / "float" / "a").mkdir(parents=True)
    (tmp_path / "float" / "b").mkdir()
    for name in "ab":
        Image.fromarray(np.ones((8, 8), dtype=np.float32)).save(tmp_path / "float" / name / "0.tif")
    with pytest.raises(DataError, match="pixels of 32 bits"):
        load_data(tmp_path / "float")


def test_pixels_of_8_bits_in_32_keep_their_values(tmp_path):
    for name, value in (("a", 0), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            pixels = np.full((8, 8), value, dtype=np.int32)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.tif")
    assert load_data(tmp_path).train.inputs.unique().tolist() == [0, 200]


def test_a_dark_pgm_file_of_16_bits_is_dark(tmp_path, caplog):
    for name, value in (("a", 0), ("b", 200)):
        (tmp_path / name).mkdir()
        for i in range(6):
            picture(value, "I;16").save(tmp_path / name / f"{i}.pgm")
    assert load_data(tmp_path).train.inputs.unique().tolist() == [0]
    assert "their pixels end at 200 of 65535" in caplog.text


def test_a_low_range_of_16_bits_is_said_once(tmp_path, caplog):
    load_data(folder(tmp_path / "full", values=(0, 28_000), mode="I;16"))
    assert not caplog.records
    load_data(folder(tmp_path / "low", values=(0, 4095), mode="I;16"))
    (record,) = caplog.records
    assert "16 of 256 levels are left in 8 bits; multiply all pixels by 16" in record.message
    caplog.clear()
    make_data([(picture(2000, "I;16"), i % 2) for i in range(8)])
    assert ["8 of 256 levels" in record.message for record in caplog.records] == [True]


def test_a_shape_on_a_transparent_ground_is_seen(tmp_path):
    for name, part in (("a", slice(0, 4)), ("b", slice(4, 8))):
        (tmp_path / name).mkdir()
        pixels = np.zeros((8, 8, 4), dtype=np.uint8)
        pixels[part, :, 3] = 255  # black there, transparent elsewhere
        for i in range(4):
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    assert load_data(tmp_path).train.inputs.unique().tolist() == [0, 255]


def test_an_image_of_too_many_pixels_is_named_from_its_header_on(tmp_path, monkeypatch):
    folder(tmp_path)
    Image.new("L", (50, 50)).save(tmp_path / "b" / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(DataError, match=r"huge\.png cannot be read: it has more than 2,000 pixels"):
        load_data(tmp_path)


def test_a_few_small_images_do_not_make_all_of_them_small(tmp_path, caplog):
    folder(tmp_path, number=3)
    for name in "ab":
        for i in range(5):
            Image.new("L", (40 + i, 60)).save(tmp_path / name / f"large{i}.png")
    with caplog.at_level("INFO"):
        assert load_data(tmp_path).input_shape == (1, 40, 40)
    assert "resized to 40x40; see --image-size" in caplog.text
