import gzip
import pickle
import struct
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from ddpnas import list_data, load_data
from ddpnas.data import DataConfig, Loader
from ddpnas.data.load import as_data, load_labelled
from ddpnas.data.splits import DatasetSplit
from ddpnas.errors import DataError, OptionError, SpaceError
from ddpnas.spaces.user_space import space_from_file
from ddpnas.training.weight_files import read_weights

from ..conftest import striped_images


def write_folder(root, counts, size=(10, 10), mode="RGB", seed=0):
    """Write noise images: {class: number}."""
    rng = np.random.default_rng(seed)
    for name, number in counts.items():
        (root / name).mkdir(parents=True)
        for i in range(number):
            pixels = rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).convert(mode).save(root / name / f"{i}.png")
    return root


def test_the_home_folder_of_an_unknown_user_is_no_path(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_folder(tmp_path / "photos", {"a": 3, "b": 3})
    assert load_data("~/photos").classes == ("a", "b")
    for read in (load_data, lambda name: load_labelled(name, ("a", "b"), (3, 10, 10))):
        with pytest.raises(DataError, match="no file or folder '~photos-of-nobody'"):
            read("~photos-of-nobody")
    with pytest.raises(OptionError, match="no file of weights '~photos-of-nobody/a.pth'"):
        read_weights("~photos-of-nobody/a.pth")
    with pytest.raises(SpaceError, match="no file '~photos-of-nobody/a.py' with a search space"):
        space_from_file("~photos-of-nobody/a.py:network")


def test_fashion_mnist_is_embedded():
    assert list_data() == ["fashion-mnist-12k", "sign-digits-small"]
    data = load_data("fashion-mnist-12k")
    assert (len(data.train), len(data.valid), len(data.test)) == (8000, 2000, 2000)
    assert data.input_shape == (1, 28, 28) and data.classes[9] == "Ankle boot"
    assert data.mean[0] == pytest.approx(0.2860, abs=0.005)  # of the full set, as published
    assert data.std[0] == pytest.approx(0.3530, abs=0.005)
    assert torch.bincount(data.test.labels).tolist() == [200] * 10


def test_every_embedded_set_loads():
    for name in list_data():
        data = load_data(name)
        again = load_data(**dict(data.source))
        assert data.name == name and again.fingerprint() == data.fingerprint()


def test_a_folder_with_train_valid_and_test(tmp_path):
    for split, n in (("train", 6), ("val", 3), ("test", 2)):
        write_folder(tmp_path / split, {"cat": n, "dog": n + 1})
    data = load_data(str(tmp_path))
    assert data.classes == ("cat", "dog") and data.input_shape == (3, 10, 10)
    assert (len(data.train), len(data.valid), len(data.test)) == (13, 7, 5)


def test_a_folder_of_classes_only_is_split_three_ways(tmp_path, monkeypatch):
    tmp_path = tmp_path / "photos.v2"
    write_folder(tmp_path, {"a": 20, "b": 20, "c": 10})
    data = load_data(tmp_path, valid_fraction=0.25)
    monkeypatch.chdir(tmp_path)
    assert data.name == load_data(".").name == "photos.v2"
    assert [len(s) for s in (data.train, data.valid, data.test)] == [30, 10, 10]
    assert load_data(tmp_path, valid_fraction=0.25).fingerprint() == data.fingerprint()
    assert load_data(tmp_path, split_seed=1).fingerprint() != data.fingerprint()


def test_a_folder_with_train_and_valid_has_no_test_split(tmp_path):
    for split in ("train", "valid"):
        write_folder(tmp_path / split, {"a": 4, "b": 4})
    assert load_data(tmp_path).test is None


def test_labels_follow_the_training_classes_also_where_a_split_lacks_one(tmp_path):
    write_folder(tmp_path / "train", {"a": 3, "b": 3, "c": 3})
    write_folder(tmp_path / "valid", {"a": 2, "c": 2})
    assert load_data(tmp_path).valid.labels.tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1"])
def test_grey_colour_and_transparent_images_are_read(tmp_path, mode):
    write_folder(tmp_path, {"a": 5, "b": 5}, mode=mode)
    channels = 1 if mode in ("L", "1") else 3
    assert load_data(tmp_path).input_shape == (channels, 10, 10)


def test_mixed_images_become_colour_of_one_size(tmp_path):
    write_folder(tmp_path, {"a": 5}, size=(50, 90), mode="L")
    write_folder(tmp_path, {"b": 5}, size=(300, 80))
    assert load_data(tmp_path).input_shape == (3, 50, 50)
    assert load_data(tmp_path, image_size=24).input_shape == (3, 24, 24)


def test_large_images_are_reduced_to_64_pixels_unless_told_otherwise(tmp_path):
    write_folder(tmp_path, {"a": 4, "b": 4}, size=(90, 120))
    assert load_data(tmp_path).input_shape == (3, 64, 64)
    assert load_data(tmp_path, image_size=80).input_shape == (3, 80, 80)


def test_a_set_too_large_for_memory_is_read_batch_by_batch(tmp_path, monkeypatch):
    write_folder(tmp_path, {"a": 10, "b": 10})
    small = load_data(tmp_path)
    monkeypatch.setattr("ddpnas.data.load.free_memory", lambda: 4 * 1000)
    large = load_data(tmp_path, workers=1)
    assert (small.source["stream"], large.source["stream"]) == (False, True)
    monkeypatch.undo()
    again = load_data(**large.source)  # whatever is free then
    assert again.fingerprint() == large.fingerprint()
    assert isinstance(large.train, DatasetSplit) and large.input_shape == small.input_shape
    assert large.mean == pytest.approx(small.mean)
    batches = [
        torch.cat([x for x, _ in Loader(d, [d.valid], torch.device("cpu")).eval_batches(3)])
        for d in (small, large)
    ]
    torch.testing.assert_close(*batches)


def test_splits_of_a_large_set_are_all_read_batch_by_batch_and_can_be_joined(tmp_path, monkeypatch):
    monkeypatch.setattr("ddpnas.data.load.free_memory", lambda: 4 * 5000)
    write_folder(tmp_path / "train", {"a": 10, "b": 10})
    for split in ("valid", "test"):
        write_folder(tmp_path / split, {"a": 1, "b": 1})
    data = load_data(tmp_path)  # a quarter is less than train, more than valid
    assert {type(s) for s in (data.train, data.valid, data.test)} == {DatasetSplit}
    joined = Loader(data, [data.train, data.valid], torch.device("cpu"))
    assert (
        sum(len(labels) for _, labels in joined.train_batches(4, seed=0)) == 20
    )  # of 22, 5 batches


def test_arrays_that_are_too_large_once_resized_are_refused(tmp_path, monkeypatch):
    images, labels = striped_images(90)
    np.savez(tmp_path / "x.npz", train_images=images, train_labels=labels)
    monkeypatch.setattr("ddpnas.data.load.free_memory", lambda: 10**6)
    assert load_data(tmp_path / "x.npz", image_size=32).input_shape == (1, 32, 32)
    with pytest.raises(DataError, match="of x would take 0.5 GB at 1600 pixels .* smaller --image"):
        load_data(tmp_path / "x.npz", image_size=1600)


def test_another_image_of_a_large_set_under_an_old_name_is_noticed(tmp_path):
    write_folder(tmp_path / "x", {"a": 10, "b": 10})
    before = load_data(tmp_path / "x", stream=True).fingerprint()
    (tmp_path / "x").rename(tmp_path / "y")
    assert load_data(tmp_path / "y", stream=True).fingerprint() == before
    for name in "ab":
        for file in (tmp_path / "y" / name).iterdir():
            Image.new("RGB", (10, 10)).save(file)
    assert load_data(tmp_path / "y", stream=True).fingerprint() != before


def test_an_unreadable_image_is_named_wherever_it_is_met(tmp_path):
    write_folder(tmp_path, {"a": 10, "b": 10})
    broken = tmp_path / "b" / "5.png"
    broken.write_bytes(broken.read_bytes()[:100])
    with pytest.raises(DataError, match=r"b.5\.png cannot be read"):
        load_data(tmp_path)
    with pytest.raises(DataError, match=r"b.5\.png cannot be read") as error:
        data = load_data(tmp_path, stream=True, workers=1)
        splits = [data.train, data.valid, data.test]
        list(Loader(data, splits, torch.device("cpu")).eval_batches(9))
    assert "\n" not in str(error.value)


def test_all_unreadable_images_are_named_at_once(tmp_path):
    write_folder(tmp_path, {"a": 10, "b": 10})
    first, second = tmp_path / "a" / "1.png", tmp_path / "b" / "3.png"
    first.write_bytes(b"")  # has no header
    second.write_bytes(second.read_bytes()[:-30])  # lacks pixels
    with pytest.raises(DataError) as error:
        load_data(tmp_path)
    assert str(error.value).startswith(
        f"2 of 20 images cannot be read; remove them, or save them again: the image {first} "
    )
    assert str(second) in str(error.value)
    with pytest.raises(DataError, match=r"1\.png cannot be read.*; remove it, or save it again"):
        load_data(tmp_path, stream=True)


def test_many_unreadable_images_are_counted(tmp_path):
    write_folder(tmp_path, {"a": 30, "b": 10})
    for i in range(12):
        (tmp_path / "a" / f"{i}.png").write_text("not an image")
    with pytest.raises(DataError, match=r"^12 of 40 images .*; and 2 more$"):
        load_data(tmp_path)


def test_a_file_that_is_no_image_is_named(tmp_path):
    write_folder(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "0.png").write_text("not an image")
    with pytest.raises(DataError, match=r"a.0\.png cannot be read"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        ({}, "holds no class folders"),
        ({"only": 3}, r"one class only \(only\)"),
        ({"a": 3, "empty": 0}, "class folder .*empty has no images"),
    ],
)
def test_folders_that_hold_no_task_are_refused(tmp_path, counts, says):
    write_folder(tmp_path, counts)
    with pytest.raises(DataError, match=says):
        load_data(tmp_path)


def test_a_class_that_only_validation_has_is_refused(tmp_path):
    write_folder(tmp_path / "train", {"a": 3, "b": 3})
    write_folder(tmp_path / "valid", {"a": 3, "c": 3})
    with pytest.raises(DataError, match="has class 'c', which the training images lack"):
        load_data(tmp_path)


def test_unknown_names_and_paths_are_refused_with_the_nearest_name(tmp_path):
    with pytest.raises(DataError, match="did you mean 'fashion-mnist-12k'"):
        load_data("fashion-mnist-12")
    with pytest.raises(DataError, match="no file or folder"):
        load_data(tmp_path / "absent")
    with pytest.raises(OptionError, match="did you mean 'image_size'"):
        load_data("fashion-mnist-12k", image_sise=16)
    with pytest.raises(OptionError, match="workers of the data must be a whole number from 0"):
        load_data("fashion-mnist-12k", workers=-1)
    for size in (0, 100_000):
        with pytest.raises(OptionError, match="image_size of the data"):
            load_data("fashion-mnist-12k", image_size=size)


def test_npz_files_of_arrays(tmp_path):
    images, labels = striped_images(40, classes=4)
    colour = np.repeat(np.moveaxis(images, 1, -1), 3, axis=-1)
    np.savez(
        tmp_path / "x.npz",
        train_images=colour,
        train_labels=labels.astype(np.uint8),
        test_images=colour[:8],
        test_labels=labels[:8],
        classes=np.array(list("wxyz")),
    )
    data = load_data(tmp_path / "x.npz")
    assert data.input_shape == (3, 8, 8) and data.classes == tuple("wxyz")
    assert (len(data.train), len(data.valid), len(data.test)) == (32, 8, 8)
    assert load_data(tmp_path / "x.npz", image_size=12).input_shape == (3, 12, 12)


def test_npz_files_of_jpegs_take_their_test_images_from_the_file_beside(tmp_path):
    import io

    for split, n in (("train", 20), ("test", 6)):
        blobs = []
        for i in range(n):
            stream = io.BytesIO()
            Image.new("RGB", (8, 8), (10 * i, 0, 0)).save(stream, "JPEG")
            blobs.append(stream.getvalue())
        header = blobs[0][:100]
        assert all(b.startswith(header) for b in blobs)
        body = b"".join(b[100:] for b in blobs)
        offsets = np.cumsum([0] + [len(b) - 100 for b in blobs])
        np.savez(
            tmp_path / f"c_{split}.npz",
            header=np.frombuffer(header, np.uint8),
            body=np.frombuffer(body, np.uint8),
            offsets=offsets,
            labels=np.arange(n) % 2,
            classes=np.array(["a", "b"]),
        )
    data = load_data(tmp_path / "c_train.npz")
    assert data.input_shape == (3, 8, 8) and len(data.test) == 6 and data.classes == ("a", "b")
    assert data.test.inputs[5, 0].float().mean() == pytest.approx(50, abs=4)
    with np.load(tmp_path / "c_test.npz") as found:
        arrays = dict(found)
    for wrong in (offsets[::-1], offsets + 1, offsets - 1, offsets / 2, offsets[:1], offsets[0]):
        np.savez(tmp_path / "c_test.npz", **{**arrays, "offsets": wrong})
        with pytest.raises(DataError, match="offsets in .*c_test.npz do not say where"):
            load_data(tmp_path / "c_train.npz")
    np.savez(tmp_path / "c_test.npz", labels=arrays["labels"])
    with pytest.raises(DataError, match="c_test.npz has no body, unlike"):
        load_data(tmp_path / "c_train.npz")


def test_files_that_are_no_npz_are_refused_with_the_form_that_is_needed(tmp_path):
    (tmp_path / "y.csv").write_text("no archive")
    with pytest.raises(DataError, match="is not a .npz file; give a folder .* arrays train_images"):
        load_data(tmp_path / "y.csv")
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.writestr("cat/0.png", b"pixels")
    with pytest.raises(DataError, match="cat/0.png in .* is not an array; unpack an archive"):
        load_data(tmp_path / "photos.zip")


def test_a_damaged_npz_file_is_named_with_the_array(tmp_path):
    images, labels = striped_images(40)
    np.savez_compressed(tmp_path / "x.npz", train_images=images, train_labels=labels)
    damaged = bytearray((tmp_path / "x.npz").read_bytes())
    damaged[400:440] = bytes(40)
    (tmp_path / "x.npz").write_bytes(damaged)
    with pytest.raises(DataError, match=r"train_images in .*x\.npz cannot be read"):
        load_data(tmp_path / "x.npz")


def test_nothing_in_an_npz_file_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    np.savez(tmp_path / "x.npz", train_images=np.array([Bomb()], dtype=object), train_labels=[0])
    with pytest.raises(DataError, match="pickle"):
        load_data(tmp_path / "x.npz")


def test_torchvision_s_cifar10_files(tmp_path):
    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    rng = np.random.default_rng(0)
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for name in names:
        batch = {
            "data": rng.integers(0, 256, (20, 3072), dtype=np.uint8),
            "labels": [i % 10 for i in range(20)],
        }
        (root / name).write_bytes(pickle.dumps(batch))
    (root / "batches.meta").write_bytes(pickle.dumps({"label_names": list("abcdefghij")}))
    with pytest.raises(DataError, match="CIFAR10 files in .* not complete"):
        load_data(tmp_path)  # their checksums are not those of CIFAR-10


def test_torchvision_s_fashion_mnist_files(tmp_path):
    root = tmp_path / "FashionMNIST" / "raw"
    root.mkdir(parents=True)
    for split, n in (("train", 40), ("t10k", 20)):
        pixels = np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        header = struct.pack(">IIII", 0x803, n, 28, 28)
        (root / f"{split}-images-idx3-ubyte").write_bytes(header + pixels.tobytes())
        labels = (np.arange(n) % 10).astype(np.uint8)
        (root / f"{split}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, n) + labels.tobytes()
        )
    data = load_data(tmp_path)
    assert (len(data.train), len(data.valid), len(data.test)) == (30, 10, 20)
    assert data.classes[0] == "T-shirt/top"
    packed = root / "train-images-idx3-ubyte"
    packed.with_suffix(".gz").write_bytes(gzip.compress(packed.read_bytes()))
    packed.unlink()
    with pytest.raises(DataError, match="not complete"):
        load_data(tmp_path)


def test_as_data_takes_what_there_is(stripes):
    assert as_data(stripes) is stripes
    assert as_data(DataConfig(limit_train_images=100)).name == "fashion-mnist-12k"
    assert len(as_data((torch.zeros(10, 2), torch.arange(10) % 2)).valid) == 2
